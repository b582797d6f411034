"""What the tours share: a request, printed with what was answered. It needs Python 3.9 and nothing else."""

import json
import sys
import time
import urllib.error
import urllib.request
import uuid


def step(title):
    print(f"\n\033[1m{title}\033[0m")


def must(condition, what):
    if not condition:
        sys.exit(f"  this is not as it should be: {what}")


class Api:
    """The API behind a gateway."""

    def __init__(self, gateway):
        self.gateway = gateway

    def call(self, method, path, token=None, body=None, show=(), expect=None, headers=None):
        """Sends a request and prints it, with the members of the answer that `show` names. What is not a 2xx, or not the status
        that is expected, ends the tour."""
        sent = {"content-type": "application/json", "idempotency-key": str(uuid.uuid4()), **(headers or {})}
        if token:
            sent["authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        printed = "" if body is None or "password" in body else f"  {json.dumps(body)}"
        print(f"  {method} {path}{printed}")
        request = urllib.request.Request(f"{self.gateway}/api/v1{path}", data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                status, text = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
            if status == 409 and "retry-after" in error.headers:
                time.sleep(int(error.headers["retry-after"]))
                return self.call(method, path, token, body, show, expect, headers)
        except urllib.error.URLError as error:
            sys.exit(f"  nobody answers at {self.gateway} ({error.reason}): start `cargo dev` first")
        answer = json.loads(text) if text else {}
        if not (status == expect if expect else status < 300):
            sys.exit(f"  {status}  {text.decode()}")
        shown = {name: answer[name] for name in show}
        print(f"  {status}" + (f"  {json.dumps(shown)}" if show else ""))
        return answer
