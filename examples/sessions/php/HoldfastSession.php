<?php
// Keeps PHP's sessions in a session zone of Holdfast, through its session API. The id and, where it is small enough, the data come
// with the request; what the script has changed is sent back as a merge patch with the version that it was made from. So two
// requests of one visitor need no lock: each changes what it has changed, and nothing else.
declare(strict_types=1);

final class HoldfastSession implements SessionHandlerInterface
{
    private array $known = [];
    private int $version = 0;

    private function __construct(private string $api, private string $session)
    {
    }

    /** In place of session_start(). `$api`: "http://127.0.0.1:8081/session-api/". */
    public static function start(string $api): void
    {
        $id = $_SERVER['HTTP_X_SESSION_ID'] ?? throw new RuntimeException('no X-Session-Id: is there a "session" in the location?');
        ini_set('session.serialize_handler', 'php_serialize');
        // The cookie is Holdfast's.
        ini_set('session.use_cookies', '0');
        ini_set('session.use_strict_mode', '0');
        session_cache_limiter('');
        session_set_save_handler(new self($api, $id), true);
        // PHP knows no "_" in ids.
        session_id(strtr($id, '_', ','));
        session_start();
    }

    public function open(string $path, string $name): bool
    {
        return true;
    }

    public function close(): bool
    {
        return true;
    }

    public function read(string $id): string|false
    {
        $this->version = (int) ($_SERVER['HTTP_X_SESSION_VERSION'] ?? 0);
        $json = base64_decode($_SERVER['HTTP_X_SESSION_DATA'] ?? '');
        // Data that a request does not carry are asked for.
        if ($json === '' && $this->version !== 0) {
            [$status, $json, $version] = $this->ask('GET');
            if ($status !== 200 && $status !== 404) return false;
            $this->version = $version;
            if ($status === 404) $json = '';
        }
        $this->known = $json === '' ? [] : json_decode($json, true, 64, JSON_THROW_ON_ERROR);
        return serialize($this->known);
    }

    public function write(string $id, string $data): bool
    {
        $now = unserialize($data, ['allowed_classes' => false]);
        $patch = self::patch($this->known, $now);
        if ($patch === []) return true;
        [$status, , $version] = $this->ask('PATCH', json_encode((object) $patch, JSON_THROW_ON_ERROR));
        if ($status >= 300) return false;
        [$this->known, $this->version] = [$now, $version];
        return true;
    }

    public function destroy(string $id): bool
    {
        [$status] = $this->ask('DELETE');
        return $status === 204 || $status === 404;
    }

    public function gc(int $max_lifetime): int|false
    {
        return 0;
    }

    /** The merge patch (RFC 7396) that makes `$after` of `$before`. */
    private static function patch(array $before, array $after): array
    {
        $patch = array_fill_keys(array_keys(array_diff_key($before, $after)), null);
        foreach ($after as $name => $value) {
            $old = $before[$name] ?? null;
            if ($old === $value) continue;
            $both = is_array($old) && is_array($value) && !array_is_list($old) && !array_is_list($value);
            $patch[$name] = $both ? self::patch($old, $value) : $value;
        }
        return $patch;
    }

    /** @return array{int, string, int} status, body and version of the answer */
    private function ask(string $method, string $body = ''): array
    {
        $fields = ['Content-Type: application/merge-patch+json', "X-Session-Version: $this->version", 'Connection: close'];
        $http = ['method' => $method, 'header' => $fields, 'content' => $body, 'ignore_errors' => true, 'timeout' => 2];
        $answer = file_get_contents($this->api . $this->session, false, stream_context_create(['http' => $http]));
        if ($answer === false) return [503, '', 0];
        $head = implode("\n", $http_response_header);
        preg_match('/^HTTP\/\S+ (\d+)/', $head, $status);
        preg_match('/^x-session-version: (\d+)/mi', $head, $version);
        return [(int) $status[1], $answer, (int) ($version[1] ?? 0)];
    }
}
