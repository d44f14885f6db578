<?php
// A token for the page of one visitor, asked for by the shop's server. PHP 8 with curl.
// RAAK_URL is the gateway's address, RAAK_API_KEY a key with the scope tokens:issue.
function token_for(array $customer, string $role = "visitor", int $minutes = 15): string {
    $request = curl_init(getenv("RAAK_URL") . "/tokens");
    curl_setopt_array($request, [
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_HTTPHEADER => ["X-API-Key: " . getenv("RAAK_API_KEY"), "Content-Type: application/json"],
        CURLOPT_POSTFIELDS => json_encode(["role" => $role, "customer" => $customer, "minutes" => $minutes]),
    ]);
    $answer = json_decode(curl_exec($request), true);
    if (!isset($answer["token"])) throw new Exception($answer["error"]["problem"] . " " . $answer["error"]["hint"]);
    return $answer["token"];
}

echo token_for(["type" => "anonymous_id", "value" => $argv[1]]), "\n";
