"""A token for the page of one visitor, asked for by the shop's server. Python 3, nothing else.

RAAK_URL is the gateway's address, RAAK_API_KEY a key with the scope tokens:issue.
"""

import json
import os
import sys
from urllib.request import Request, urlopen


def token_for(customer: dict[str, str], role: str = "visitor", minutes: int = 15) -> str:
    body = json.dumps({"role": role, "customer": customer, "minutes": minutes}).encode()
    headers = {"X-API-Key": os.environ["RAAK_API_KEY"], "Content-Type": "application/json"}
    with urlopen(Request(f"{os.environ['RAAK_URL']}/tokens", body, headers)) as response:
        return str(json.load(response)["token"])


print(token_for({"type": "anonymous_id", "value": sys.argv[1]}))
