<?php
// The header way: no extension, no library, no request to anybody.
$cart = json_decode(base64_decode($_SERVER['HTTP_X_SESSION_DATA'] ?? 'e30='), true)['cart'] ?? [];
if (preg_match('~^/add/(\w+)$~', $_SERVER['DOCUMENT_URI'], $found)) {
    [, $item] = $found;
    $cart[$item] = ($cart[$item] ?? 0) + 1;
    header('X-Session-Set: ' . base64_encode(json_encode(['cart' => [$item => $cart[$item]]])));
}
header('X-Server: ' . getenv('SERVER_LABEL'));
echo json_encode((object) $cart);
