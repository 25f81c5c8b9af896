<?php
declare(strict_types=1);

namespace Media;

require __DIR__ . '/bootstrap.php';
require __DIR__ . '/routes.php';

$began = hrtime(true);
$method = $_SERVER['REQUEST_METHOD'] === 'HEAD' ? 'GET' : $_SERVER['REQUEST_METHOD'];
$path = rtrim(strtok($_SERVER['REQUEST_URI'], '?'), '/') ?: '/';
$json = str_starts_with($_SERVER['CONTENT_TYPE'] ?? '', 'application/json');
$input = $json ? json_decode((string) file_get_contents('php://input'), true) : $_POST;
[$status, $body] = respond($method, $path, is_array($input) ? $input : []);
http_response_code($status);
header('Cache-Control: no-store');
header('Content-Type: ' . (is_array($body) ? 'application/json' : 'text/html; charset=utf-8'));
echo is_array($body) ? json_encode($body, JSON_UNESCAPED_SLASHES) . "\n" : $body;
if ($status >= 400 || $path !== '/api/health') {
    $seconds = round((hrtime(true) - $began) / 1e9, 3);
    log('info', 'request', ['method' => $method, 'path' => $path, 'status' => $status, 'client' => client_address(), 'seconds' => $seconds]);
}
