<?php
// Make what the application needs, once per release and before its traffic: the table, and the marker of the shared file store.
declare(strict_types=1);

namespace Media;

require __DIR__ . '/bootstrap.php';

try {
    database()->exec('CREATE TABLE IF NOT EXISTS images (
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        name VARCHAR(100) NOT NULL,
        host VARCHAR(64) NOT NULL,
        made_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
    ) CHARACTER SET utf8mb4');
    $path = setting('MEDIA_PATH');
    if (stat($path)['dev'] === stat(dirname($path))['dev']) {
        throw new Unavailable("media: $path is not mounted");
    }
    if (!is_file("$path/" . MARKER) && file_put_contents("$path/" . MARKER, "The shared file store of media; its absence makes a host unhealthy.\n") === false) {
        throw new Unavailable("media: $path cannot be written");
    }
    log('info', 'table and file store are ready');
} catch (Unavailable | \PDOException $error) {
    log('error', 'cannot prepare', ['reason' => $error->getMessage()]);
    exit(1);
}
