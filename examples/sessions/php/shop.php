<?php
// A shop in PHP whose cart is in $_SESSION as ever: the first two lines are all that is new.
require __DIR__ . '/HoldfastSession.php';
HoldfastSession::start(getenv('SESSION_API'));

if (preg_match('~^/add/(\w+)$~', $_SERVER['DOCUMENT_URI'], $found)) {
    $_SESSION['cart'][$found[1]] = ($_SESSION['cart'][$found[1]] ?? 0) + 1;
}
$cart = (object) ($_SESSION['cart'] ?? []);
// What is answered is stored.
if (!session_write_close()) http_response_code(503);
header('Content-Type: application/json');
header('X-Server: ' . getenv('SERVER_LABEL'));
echo json_encode($cart);
