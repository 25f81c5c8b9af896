<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>media</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; margin: 6vh auto; max-width: 56rem; padding: 0 1rem; color: #1d2733; }
  figure { display: inline-block; margin: .4rem; } figcaption { font-size: .75rem; color: #678; }
</style>
</head>
<body>
<h1>media</h1>
<p>Served by <?= htmlspecialchars(Media\setting('FLOTILLA_HOST', 'local')) ?>, version <?= htmlspecialchars(Media\setting('APP_VERSION', '0')) ?>.
<?= $visits === null ? 'Sessions are away.' : "Visits of yours: $visits." ?></p>
<p><button onclick="fetch('/api/generate-image').then(() => location.reload())">Make an image</button></p>
<?php foreach ($images as $image): ?>
<figure><img src="/storage/media/<?= rawurlencode($image['name']) ?>" width="160" height="100" alt="">
<figcaption>made on <?= htmlspecialchars($image['host']) ?></figcaption></figure>
<?php endforeach ?>
</body>
</html>
