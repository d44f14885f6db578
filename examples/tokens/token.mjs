// A token for the page of one visitor, asked for by the shop's server. Node 18 and later.
// RAAK_URL is the gateway's address, RAAK_API_KEY a key with the scope tokens:issue.
export async function tokenFor(customer, role = "visitor", minutes = 15) {
  const response = await fetch(`${process.env.RAAK_URL}/tokens`, {
    method: "POST",
    headers: { "X-API-Key": process.env.RAAK_API_KEY, "Content-Type": "application/json" },
    body: JSON.stringify({ role, customer, minutes }),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${answer.error.problem} ${answer.error.hint}`);
  return answer.token;
}

console.log(await tokenFor({ type: "anonymous_id", value: process.argv[2] }));
