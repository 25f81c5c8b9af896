<?php
// Feature tests over HTTP. In the image's build they start the application with a redis and a file store, and without a database.
// Against a deployment: FEATURE_URL=https://… phpunit tests   (in the image of `docker build --target test`)
declare(strict_types=1);

use PHPUnit\Framework\TestCase;

final class FeatureTest extends TestCase
{
    private const STORE = '/dev/shm'; // a mount of its own, as the file store is
    private static array $processes = [];
    private static string $url;

    public static function setUpBeforeClass(): void
    {
        if (self::$url = rtrim(getenv('FEATURE_URL') ?: '', '/')) {
            return;
        }
        self::$url = 'http://127.0.0.1:8080';
        $secrets = sys_get_temp_dir() . '/secrets';
        @mkdir($secrets);
        file_put_contents("$secrets/cache_token", "for-tests\n");
        file_put_contents("$secrets/database_password", "for-tests\n");
        file_put_contents(self::STORE . '/.media-store', '');
        self::redis();
        self::$processes['app'] = proc_open(['/srv/media/start'], [2 => ['file', '/tmp/app.log', 'w']], $pipes, null, [
            'PATH' => getenv('PATH'), 'SECRETS' => $secrets, 'MEDIA_PATH' => self::STORE, 'APP_VERSION' => '9.9.9', 'RATE_LIMIT_PER_MINUTE' => '40',
            'CACHE_HOST' => '127.0.0.1', 'CACHE_PORT' => '6390',
            'DATABASE_HOST' => '127.0.0.1', 'DATABASE_PORT' => '1', 'DATABASE_NAME' => 'x', 'DATABASE_USER' => 'x', 'DATABASE_CA' => '/etc/ssl/certs/ca-certificates.crt',
        ]);
        self::until(fn () => self::call('GET', '/healthz')[0] === 200);
    }

    public static function tearDownAfterClass(): void
    {
        foreach (self::$processes as $process) {
            proc_terminate($process);
            proc_close($process);
        }
    }

    private static function redis(): void
    {
        $command = ['redis-server', '--port', '6390', '--requirepass', 'for-tests', '--save', '', '--logfile', '/tmp/redis.log'];
        self::$processes['redis'] = proc_open($command, [], $pipes);
        self::until(fn () => @fsockopen('127.0.0.1', 6390) !== false);
    }

    private static function until(callable $probe): void
    {
        for ($attempt = 0; $attempt < 100; $attempt++) {
            if ($probe()) {
                return;
            }
            usleep(100_000);
        }
        throw new RuntimeException('it did not start: ' . @file_get_contents('/tmp/app.log'));
    }

    /** [status, decoded or plain body, headers] */
    private static function call(string $method, string $path, ?array $json = null, array $headers = []): array
    {
        $seen = [];
        $curl = curl_init(self::$url . $path);
        curl_setopt_array($curl, [
            CURLOPT_CUSTOMREQUEST => $method,
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_TIMEOUT => 10,
            CURLOPT_SSL_VERIFYPEER => false,
            CURLOPT_SSL_VERIFYHOST => 0,
            CURLOPT_HTTPHEADER => [...$headers, 'Content-Type: application/json'],
            CURLOPT_HEADERFUNCTION => function ($curl, string $line) use (&$seen): int {
                [$name, $value] = explode(':', $line, 2) + [1 => ''];
                $seen[strtolower($name)] = trim($value);
                return strlen($line);
            },
        ] + ($json === null ? [] : [CURLOPT_POSTFIELDS => json_encode($json)]));
        $body = (string) curl_exec($curl);
        return [curl_getinfo($curl, CURLINFO_RESPONSE_CODE), json_decode($body, true) ?? $body, $seen];
    }

    private function needsDatabase(): void
    {
        if (!getenv('FEATURE_URL')) {
            $this->markTestSkipped('needs a deployment: FEATURE_URL');
        }
    }

    public function testPingCarriesTheVersion(): void
    {
        [$status, $body, $headers] = self::call('GET', '/api/ping');
        $this->assertSame([200, true], [$status, $body['pong']]);
        $this->assertArrayHasKey('x-app-version', $headers);
    }

    public function testHealthNamesEachDependency(): void
    {
        [$status, $body] = self::call('GET', '/api/health');
        $this->assertSame(['database', 'cache', 'media'], array_keys($body['checks']));
        $this->assertSame(['ok', 'ok'], [$body['checks']['cache']['state'], $body['checks']['media']['state']]);
        $this->assertIsNumeric($body['checks']['media']['latency_ms']);
        $this->assertSame($body['checks']['database']['state'] === 'ok' ? 200 : 503, $status);
    }

    public function testCache(): void
    {
        $key = 'test-' . bin2hex(random_bytes(4));
        $this->assertSame(404, self::call('GET', "/api/cache/$key")[0]);
        $this->assertSame(201, self::call('POST', '/api/cache', ['key' => $key, 'value' => 'grün', 'ttl' => 60])[0]);
        $this->assertSame('grün', self::call('GET', "/api/cache/$key")[1]['value']);
        $this->assertSame(201, self::call('POST', '/api/cache', ['key' => $key, 'value' => '', 'ttl' => 1])[0]);
        sleep(2);
        $this->assertSame(404, self::call('GET', "/api/cache/$key")[0]);
    }

    public function testCacheRefusesBadInput(): void
    {
        $bad = [[], ['key' => 'a'], ['key' => 'a b', 'value' => 'x'], ['key' => 'a', 'value' => ['x']], ['key' => 'a', 'value' => 'x', 'ttl' => 0]];
        foreach ([...$bad, ['key' => 'a', 'value' => 'x', 'ttl' => '60'], ['key' => 'a', 'value' => str_repeat('x', 10001)]] as $input) {
            $this->assertSame(422, self::call('POST', '/api/cache', $input)[0], json_encode($input));
        }
        $this->assertSame(404, self::call('GET', '/api/nothing')[0]);
    }

    public function testAnImageIsMadeServedAndCacheable(): void
    {
        $this->needsDatabase();
        [$status, $made] = self::call('GET', '/api/generate-image');
        $this->assertSame(201, $status);
        [$status, $image, $headers] = self::call('GET', $made['url']);
        $this->assertSame([200, $made['bytes'], [160, 100]], [$status, strlen($image), array_slice(getimagesizefromstring($image), 0, 2)]);
        $this->assertStringContainsString('immutable', $headers['cache-control']);
        $this->assertStringContainsString($made['file'], self::call('GET', '/')[1]);
    }

    public function testASessionIsKeptInTheCache(): void
    {
        $this->needsDatabase();
        $cookie = explode(';', self::call('GET', '/')[2]['set-cookie'])[0];
        $this->assertStringContainsString('Visits of yours: 2', self::call('GET', '/', null, ["Cookie: $cookie"])[1]);
    }

    public function testFilesOutsideTheStoreAndHiddenOnesAreNotServed(): void
    {
        foreach (['/storage/media/.media-store', '/storage/media/../index.php', '/storage/media/%2e%2e/index.php', '/storage/media/none.png'] as $path) {
            $this->assertSame(404, self::call('GET', $path)[0], $path);
        }
    }

    // ---- what only a server of our own can show

    private function ownServer(): void
    {
        if (getenv('FEATURE_URL')) {
            $this->markTestSkipped('breaks things: not against a deployment');
        }
    }

    public function testAnImageThatCannotBeRecordedLeavesNoFile(): void
    {
        $this->ownServer();
        $this->assertSame(503, self::call('GET', '/api/generate-image')[0]);
        $this->assertSame([], glob(self::STORE . '/*.png'));
    }

    public function testAMissingStoreIsUnhealthyAndNothingIsWritten(): void
    {
        $this->ownServer();
        rename(self::STORE . '/.media-store', self::STORE . '/away');
        [$status, $body] = self::call('GET', '/api/health');
        $this->assertSame([503, 'down'], [$status, $body['checks']['media']['state']]);
        $this->assertSame(503, self::call('GET', '/api/generate-image')[0]);
        rename(self::STORE . '/away', self::STORE . '/.media-store');
    }

    public function testWithoutCacheItAnswersWithinASecondAndHeals(): void
    {
        $this->ownServer();
        proc_terminate(self::$processes['redis']);
        proc_close(self::$processes['redis']);
        $began = microtime(true);
        $this->assertSame(503, self::call('GET', '/api/cache/a')[0]);
        $this->assertLessThan(1, microtime(true) - $began);
        $this->assertSame('down', self::call('GET', '/api/health')[1]['checks']['cache']['state']);
        self::redis();
        $this->assertSame(404, self::call('GET', '/api/cache/a')[0]);
    }

    public function testRequestsAreLimitedByTheAddressThatTheLoadBalancerSaw(): void
    {
        $this->ownServer();
        $statuses = array_map(fn (int $n) => self::call('GET', '/api/ping', null, ["X-Forwarded-For: 10.0.0.$n, 192.0.2.1"])[0], range(1, 90));
        $this->assertContains(429, $statuses);
        $this->assertSame(200, self::call('GET', '/api/ping', null, ['X-Forwarded-For: 192.0.2.1, 192.0.2.2'])[0]);
        $this->assertNotSame(429, self::call('GET', '/api/health', null, ['X-Forwarded-For: 192.0.2.1'])[0]);
    }

    public function testSigtermEndsItWithCode0(): void
    {
        $this->ownServer();
        proc_terminate(self::$processes['app']);
        $code = proc_close(self::$processes['app']);
        unset(self::$processes['app']);
        $this->assertSame(0, $code);
    }
}
