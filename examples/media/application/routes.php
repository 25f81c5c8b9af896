<?php
// media: an answer for each path, as [status, body]; arrays become JSON.
declare(strict_types=1);

namespace Media;

function respond(string $method, string $path, array $input): array
{
    $routes = [
        'GET /' => page(...),
        'GET /api/ping' => fn () => [200, ['pong' => true, 'client' => client_address()]],
        'GET /api/health' => health(...),
        'GET /api/generate-image' => generate_image(...),
        'POST /api/cache' => fn () => cache_put($input),
    ];
    try {
        if (str_starts_with($path, '/api/') && $path !== '/api/health' && !allowed()) {
            header('Retry-After: 60');
            return [429, ['error' => 'too many requests: ' . setting('RATE_LIMIT_PER_MINUTE', '120') . ' a minute are allowed']];
        }
        if (isset($routes["$method $path"])) {
            return $routes["$method $path"]();
        }
        if ($method === 'GET' && preg_match('~^/api/cache/([^/]{1,300})$~', $path, $found)) {
            return cache_get(rawurldecode($found[1]));
        }
        return [404, ['error' => "nothing at $method $path"]];
    } catch (Unavailable | \RedisException | \PDOException $error) {
        log('error', 'a dependency is away', ['path' => $path, 'reason' => $error->getMessage()]);
        header('Retry-After: 1');
        return [503, ['error' => 'this needs something that is away; it heals by itself']];
    }
}

/** Counts in the cache, so that hosts share the limit. With the cache away everybody is let in: a limit must not become an outage. */
function allowed(): bool
{
    try {
        $redis = cache();
        $key = 'rate:' . client_address() . ':' . intdiv(time(), 60);
        $count = $redis->incr($key);
        $redis->expire($key, 120);
        return $count <= (int) setting('RATE_LIMIT_PER_MINUTE', '120');
    } catch (Unavailable | \RedisException) {
        return true;
    }
}

/** Each dependency with state and latency. 503 without database or file store: this host can then do nothing. Without cache it is degraded: 200. */
function health(): array
{
    $checks = [];
    $probes = [
        'database' => fn () => database()->query('SELECT 1')->fetch(),
        'cache' => fn () => cache()->ping(),
        'media' => fn () => is_writable(store()) ?: throw new Unavailable('media: not writable'),
    ];
    foreach ($probes as $name => $probe) {
        $began = hrtime(true);
        try {
            $probe();
            $checks[$name] = ['state' => 'ok'];
        } catch (\Exception $error) {
            log('warning', "$name is away", ['reason' => $error->getMessage()]);
            $checks[$name] = ['state' => 'down'];
        }
        $checks[$name]['latency_ms'] = round((hrtime(true) - $began) / 1e6, 1);
    }
    $down = array_keys(array_filter($checks, fn ($check) => $check['state'] !== 'ok'));
    $status = array_diff($down, ['cache']) || getenv('APP_FAULT') ? 'unhealthy' : ($down ? 'degraded' : 'ok');
    return [$status === 'unhealthy' ? 503 : 200, ['status' => $status, 'checks' => $checks]];
}

/** Draw, write beside, move into place, record. An answer of 201 means that the file is in the shared store and in the list. */
function generate_image(): array
{
    $directory = store();
    $name = gmdate('Ymd-His-') . bin2hex(random_bytes(4)) . '.png';
    [$red, $green] = [random_int(0, 255), random_int(0, 255)];
    $image = png(160, 100, fn (int $x, int $y) => [($red + $x) % 256, ($green + 2 * $y) % 256, ($x * $y) % 256]);
    $temporary = "$directory/.$name";
    if (@file_put_contents($temporary, $image) !== strlen($image) || !@rename($temporary, "$directory/$name")) {
        @unlink($temporary);
        log('error', 'an image could not be written', ['reason' => error_get_last()['message'] ?? 'short write']);
        return [500, ['error' => 'the image could not be written']];
    }
    try {
        database()->prepare('INSERT INTO images (name, host) VALUES (?, ?)')->execute([$name, setting('FLOTILLA_HOST', 'local')]);
    } catch (Unavailable | \PDOException $error) {
        @unlink("$directory/$name");
        throw $error;
    }
    return [201, ['file' => $name, 'url' => "/storage/media/$name", 'bytes' => strlen($image)]];
}

function cache_put(array $input): array
{
    ['key' => $key, 'value' => $value, 'ttl' => $ttl] = $input + ['key' => null, 'value' => null, 'ttl' => 60];
    $errors = array_filter([
        is_string($key) && preg_match('/^[A-Za-z0-9_.:-]{1,100}$/', $key) ? null : 'key must be 1 to 100 of A-Z a-z 0-9 _ . : -',
        is_string($value) && strlen($value) <= 10000 ? null : 'value must be a text of at most 10000 bytes',
        is_int($ttl) && $ttl >= 1 && $ttl <= 86400 ? null : 'ttl must be a whole number of seconds from 1 to 86400',
    ]);
    if ($errors) {
        return [422, ['error' => implode('; ', $errors)]];
    }
    cache()->setex("user:$key", $ttl, $value);
    return [201, ['key' => $key, 'ttl' => $ttl]];
}

function cache_get(string $key): array
{
    $redis = cache();
    $value = $redis->get("user:$key");
    return $value === false ? [404, ['error' => "no key $key"]] : [200, ['key' => $key, 'value' => $value, 'ttl' => $redis->ttl("user:$key")]];
}

/** The page, with the newest images and how often this visitor came: whichever host served him before. Without cache: no count. */
function page(): array
{
    $visits = null;
    try {
        session_set_save_handler(new CacheSessions(cache()), true);
        session_start(['name' => 'media', 'cookie_httponly' => true, 'cookie_samesite' => 'Lax', 'use_strict_mode' => true]);
        $visits = $_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
        session_write_close();
    } catch (Unavailable | \RedisException $error) {
        log('warning', 'no session', ['reason' => $error->getMessage()]);
    }
    $images = database()->query('SELECT name, host, made_at FROM images ORDER BY id DESC LIMIT 12')->fetchAll();
    ob_start();
    require __DIR__ . '/page.php';
    return [200, ob_get_clean()];
}
