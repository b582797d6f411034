#!/usr/bin/env python3
"""A tour of the ledger: every request that it makes, and what was answered.

    cargo dev                           # in one terminal
    python3 tests/tours/ledger.py       # in another

Two new customers place a hold, capture half of it, refund a part, read a balance as it was, receive a signed webhook on a local
listener, and verify a proof offline. The gateway must be one of a sandbox, since play money is deposited and webhooks are sent
to this machine.
"""

import argparse
import base64
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import queue
import subprocess
import tempfile
import threading
import uuid

from api import Api, must, step

PROJECT = pathlib.Path(__file__).resolve().parent.parent.parent

arguments = argparse.ArgumentParser(description="A tour of the ledger.")
arguments.add_argument("--gateway", default="http://127.0.0.1:8080", help="its URL")
GATEWAY = arguments.parse_args().gateway
call = Api(GATEWAY).call


def customer(name):
    """A new customer: the token, and an account in dollars."""
    email = f"{name}-{uuid.uuid4().hex[:12]}@example.com"
    password = f"tour-{uuid.uuid4().hex}"
    call("POST", "/auth/register", body={"email": email, "password": password, "name": name})
    token = call("POST", "/auth/login", body={"email": email, "password": password})["access_token"]
    account = call("POST", "/accounts", token, {"kind": "checking", "currency": "USD"}, ["id"])["id"]
    return token, account


class Listener(http.server.BaseHTTPRequestHandler):
    """Receives webhooks."""

    arrived = queue.Queue()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.arrived.put((dict((name.lower(), value) for name, value in self.headers.items()), body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def is_genuine(secret, headers, body):
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return any(hmac.compare_digest(expected, given) for given in headers["webhook-signature"].split(" "))


step("Two customers, one with 100.00")
alice, alices = customer("alice")
bob, bobs = customer("bob")
call("POST", "/payments/deposits", alice, {"account_id": alices, "amount": 10_000, "currency": "USD"}, ["kind", "status", "amount"])

step("Bob wants to be told what happens to his account")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/hooks"
endpoint = call("POST", "/webhook-endpoints", bob, {"url": url, "types": ["transfer.posted"]}, ["id"])

step("Alice sets 60.00 aside for Bob: it is still hers, and not available any more")
order = {"account_id": alices, "credit_account_id": bobs, "amount": 6_000, "currency": "USD"}
hold = call("POST", "/holds", alice, order, ["id", "status", "remaining", "expires_at"])
balance = call("GET", f"/accounts/{alices}", alice, show=["balance"])["balance"]
must(balance["available"] == 4_000, "40.00 is available")

step("Bob captures half of it, and releases the rest")
capture = call("POST", f"/holds/{hold['id']}/capture", bob, {"amount": 3_000}, ["id", "kind", "status", "amount"])
call("POST", f"/holds/{hold['id']}/release", bob, {}, ["status", "captured", "released"])

step("He is told of it, and knows that it is really us")
headers, body = Listener.arrived.get(timeout=30)
event = json.loads(body)
print(f"  webhook {headers['webhook-id']}: {event['type']}, number {event['account_sequence']} of his account")
must(is_genuine(endpoint["secret"], headers, body), "the signature fits the secret")
must(not is_genuine(endpoint["secret"], headers, body + b" "), "the signature fits nothing else")
must(event["data"]["id"] == capture["id"], "it tells of the capture")
print("  its signature fits")

step("Bob gives 10.00 back")
refund = call("POST", f"/transfers/{capture['id']}/refunds", bob, {"amount": 1_000}, ["id", "kind", "status", "amount"])
original = call("GET", f"/transfers/{capture['id']}", bob, show=["amount", "refunded"])
must(original["refunded"] == 1_000, "the capture knows its refund")

step("What he has now, and what he had before")
now = call("GET", f"/accounts/{bobs}/balance", bob, show=["posted"])
before = call("GET", f"/accounts/{bobs}/balance?as_of={refund['created_at'].replace('+', '%2B')}", bob, show=["as_of", "posted"])
must((now["posted"], before["posted"]) == (2_000, 3_000), "20.00 now, 30.00 before the refund")

step("He keeps a proof of the refund, and verifies it offline")
proof = call("GET", f"/transfers/{refund['id']}/proof", bob)
keys = call("GET", "/ledger/keys", bob)
with tempfile.TemporaryDirectory() as directory:
    paths = {}
    forged = json.loads(json.dumps(proof).replace('"amount": 1000', '"amount": 9000'))
    for name, value in [("proof", proof), ("keys", keys), ("forged", forged)]:
        paths[name] = os.path.join(directory, f"{name}.json")
        pathlib.Path(paths[name]).write_text(json.dumps(value))

    def verify(name):
        command = ["cargo", "run", "--quiet", "-p", "flowlet-verify", "--", "proof", paths[name], "--keys", paths["keys"]]
        print(f"  flowlet-verify proof {name}.json --keys keys.json")
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        print("  " + (done.stdout + done.stderr).strip().replace("\n", "\n  "))
        return done.returncode

    must(verify("proof") == 0, "the proof verifies")
    must(verify("forged") == 1, "a forged one does not")

print("\nThat was the tour. The whole API is at " + GATEWAY + "/docs")
