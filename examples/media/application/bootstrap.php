<?php
// media: settings, and the three things it depends on. Settings come from the environment:
//   DATABASE_HOST, DATABASE_PORT, DATABASE_NAME, DATABASE_USER, DATABASE_CA   MySQL; DATABASE_CA is a file
//   CACHE_HOST, CACHE_PORT, CACHE_CA   redis; without CACHE_CA the connection is not encrypted (for trying it alone)
//   MEDIA_PATH               where the shared file store is mounted
//   RATE_LIMIT_PER_MINUTE    requests to /api/* for each client address (default 120)
//   SECRETS                  directory with the files `database_password` and `cache_token` (default /run/secrets)
//   FLOTILLA_HOST, APP_VERSION   who answers and which build it is (X-App-Host, X-App-Version)
//   APP_FAULT                `unhealthy`: a build that never becomes healthy, for tests of the deployment
declare(strict_types=1);

namespace Media;

const PATIENCE_SECONDS = 0.4; // for the cache, to connect and to answer: together below a second
const MARKER = '.media-store';

final class Unavailable extends \Exception
{
}

function setting(string $name, ?string $default = null): string
{
    $value = getenv($name);
    return $value !== false && $value !== '' ? $value : $default ?? throw new Unavailable("$name is not set");
}

function secret(string $name): string
{
    $path = setting('SECRETS', '/run/secrets') . "/$name";
    $text = is_readable($path) ? file_get_contents($path) : false;
    return $text !== false ? trim($text) : throw new Unavailable("the secret $name is missing");
}

/** One JSON line on standard error: php-fpm hands it on as it is. */
function log(string $level, string $message, array $details = []): void
{
    $line = ['time' => gmdate('Y-m-d\TH:i:s\Z'), 'level' => $level, 'message' => $message] + $details;
    file_put_contents('php://stderr', json_encode($line, JSON_UNESCAPED_SLASHES) . "\n");
}

/** A php-fpm child keeps its connection and checks it before use: the children are the pool, there are never more connections than children. */
function database(): \PDO
{
    try {
        $name = sprintf('mysql:host=%s;port=%s;dbname=%s;charset=utf8mb4', setting('DATABASE_HOST'), setting('DATABASE_PORT', '3306'), setting('DATABASE_NAME'));
        return new \PDO($name, setting('DATABASE_USER'), secret('database_password'), [
            \PDO::ATTR_ERRMODE => \PDO::ERRMODE_EXCEPTION,
            \PDO::ATTR_DEFAULT_FETCH_MODE => \PDO::FETCH_ASSOC,
            \PDO::ATTR_PERSISTENT => true,
            \PDO::ATTR_TIMEOUT => 2,
            \PDO::MYSQL_ATTR_SSL_CA => setting('DATABASE_CA'),
            \PDO::MYSQL_ATTR_SSL_VERIFY_SERVER_CERT => true,
        ]);
    } catch (\PDOException $error) {
        throw new Unavailable('database: ' . $error->getMessage(), 0, $error);
    }
}

/** A connection to the cache, kept like the database's. Away once is away for the rest of the request: a visitor waits for it once. */
function cache(): \Redis
{
    static $away = null;
    if ($away) {
        throw $away;
    }
    $authority = setting('CACHE_CA', '-');
    $host = setting('CACHE_HOST');
    $tls = $authority === '-' ? [] : ['stream' => ['cafile' => $authority, 'verify_peer' => true, 'verify_peer_name' => true, 'peer_name' => $host]];
    $address = $tls ? "tls://$host" : $host;
    try {
        $redis = new \Redis();
        $context = $tls + ['auth' => [secret('cache_token')]];
        @$redis->pconnect($address, (int) setting('CACHE_PORT', '6379'), PATIENCE_SECONDS, null, 0, PATIENCE_SECONDS, $context);
        $redis->setOption(\Redis::OPT_MAX_RETRIES, 0);
        return $redis;
    } catch (\RedisException $error) {
        throw $away = new Unavailable('cache: ' . $error->getMessage(), 0, $error);
    }
}

/**
 * The directory of the shared file store. It must be a mount, and carry the marker that prepare.php left there with the first release: an empty
 * directory of the host where the file store should be has neither. Never a silent local write.
 */
function store(): string
{
    $path = setting('MEDIA_PATH');
    clearstatcache();
    $own = @stat($path);
    $parent = @stat(dirname($path));
    if (!$own || !$parent || $own['dev'] === $parent['dev']) {
        throw new Unavailable("media: $path is not mounted");
    }
    if (!is_file("$path/" . MARKER)) {
        throw new Unavailable("media: $path has no " . MARKER . ': this is not the shared file store');
    }
    return $path;
}

/** The client's address as the load balancer saw it: the rightmost one. What stands left of it anybody could have sent. */
function client_address(): string
{
    $forwarded = explode(',', $_SERVER['HTTP_X_FORWARDED_FOR'] ?? '');
    $address = trim(end($forwarded));
    return filter_var($address, FILTER_VALIDATE_IP) ? $address : $_SERVER['REMOTE_ADDR'] ?? 'unknown';
}

/** A PNG from rows of RGB bytes, without an image library: signature, header, pixels, end (RFC 2083). */
function png(int $width, int $height, callable $pixel): string
{
    $rows = '';
    for ($y = 0; $y < $height; $y++) {
        $rows .= "\0";
        for ($x = 0; $x < $width; $x++) {
            $rows .= pack('C3', ...$pixel($x, $y));
        }
    }
    $image = "\x89PNG\r\n\x1a\n";
    foreach (['IHDR' => pack('NNC5', $width, $height, 8, 2, 0, 0, 0), 'IDAT' => gzcompress($rows), 'IEND' => ''] as $kind => $data) {
        $image .= pack('N', strlen($data)) . $kind . $data . pack('N', crc32($kind . $data));
    }
    return $image;
}

/** Sessions in the cache, so that any host can serve any visitor and a host holds nothing worth keeping. */
final class CacheSessions implements \SessionHandlerInterface, \SessionUpdateTimestampHandlerInterface
{
    private const LIFETIME_SECONDS = 3600;

    public function __construct(private \Redis $redis)
    {
    }

    public function open(string $path, string $name): bool
    {
        return true;
    }

    public function close(): bool
    {
        return true;
    }

    public function read(string $id): string
    {
        return (string) $this->redis->get("session:$id");
    }

    public function write(string $id, string $data): bool
    {
        return (bool) $this->redis->setex("session:$id", self::LIFETIME_SECONDS, $data);
    }

    /** Only ids that we gave out: nobody can hand a visitor a session of his own making. */
    public function validateId(string $id): bool
    {
        return (bool) $this->redis->exists("session:$id");
    }

    public function updateTimestamp(string $id, string $data): bool
    {
        return $this->write($id, $data);
    }

    public function destroy(string $id): bool
    {
        $this->redis->del("session:$id");
        return true;
    }

    public function gc(int $lifetime): int
    {
        return 0; // the cache forgets by itself
    }
}
