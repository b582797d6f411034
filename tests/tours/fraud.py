#!/usr/bin/env python3
"""A tour of fraud: every request that it makes, and what was answered.

    cargo dev                           # in one terminal
    python3 tests/tours/fraud.py        # in another

Dora pays a shop small amounts, and then somebody pays strangers large ones out of her account. They wait for a person, with a
sentence that says why. An analyst claims two, releases one and refuses the other; Dora sees both outcomes, and both have labels
that models learn from. Then it shows what her transfers tell herself.

A trick follows that no model knew: small payments for what never arrives. They are labelled, a model is trained on all that is
known, watches, and decides when a second person agrees; the next one who tries the trick has to wait. At last one person goes
back to the model from before.
"""

import argparse
import json
import os
import pathlib
import shlex
import subprocess
import tempfile
import time
import uuid

from api import Api, must, step

arguments = argparse.ArgumentParser(description="A tour of fraud.")
arguments.add_argument("--gateway", default="http://127.0.0.1:8080", help="its URL")
arguments.add_argument("--analyst", default="officer@example.com", help="the e-mail of somebody with the role compliance or admin")
arguments.add_argument("--analyst-password", default="flowlet-demo-password")
arguments.add_argument("--second", default="admin@example.com", help="the e-mail of another one, who approves models")
arguments.add_argument("--second-password", default="flowlet-demo-password")
arguments.add_argument("--ml-service", default="cargo run --quiet --package platform --bin dev -- {} ml-service",
                       help="how to run its commands, {} being the command")
given = arguments.parse_args()
call = Api(given.gateway).call


def log_in(email, password):
    return call("POST", "/auth/login", body={"email": email, "password": password})["access_token"]


def customer(name, money=0):
    """A new customer: the token, and an account in dollars with so much in it."""
    email = f"{name}-{uuid.uuid4().hex[:12]}@example.com"
    password = f"tour-{uuid.uuid4().hex}"
    call("POST", "/auth/register", body={"email": email, "password": password, "name": name})
    token = log_in(email, password)
    account = call("POST", "/accounts", token, {"kind": "checking", "currency": "USD"}, ["id"])["id"]
    if money:
        call("POST", "/payments/deposits", token, {"account_id": account, "amount": money, "currency": "USD"}, ["status"])
    return token, account


def pay(payer, to, amount, description):
    token, account = payer
    body = {"debit_account_id": account, "credit_account_id": to, "amount": amount, "currency": "USD", "description": description}
    return call("POST", "/transfers", token, body, ["id", "status"])


def run(token, command, *words, refused=None):
    """Runs a command of ml-service: what it printed, or the end of the tour. What has to be refused says so."""
    print(f"  ml-service {command} {' '.join(words)}")
    program = shlex.split(given.ml_service.format(command))
    environment = {**os.environ, "FLOWLET_URL": given.gateway, "FLOWLET_TOKEN": token}
    ran = subprocess.run(program + list(words), env=environment, cwd=pathlib.Path(__file__).parents[2],
                         capture_output=True, text=True)
    if refused:
        must(ran.returncode != 0 and refused in ran.stderr, f"{command} is refused: {refused}")
        print(f"  refused: {refused}")
        return None
    must(ran.returncode == 0, f"{command} works: {ran.stderr}")
    return ran.stdout


def wait_for(what, condition):
    for _ in range(100):
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    must(False, what)


step("Dora and a shop, and two strangers")
dora = customer("dora", 1_000_000)
_, shop = customer("shop")
strangers = [customer("stranger")[1] for _ in range(2)]

step("Her habits: small amounts to the shop")
for number in range(6):
    must(pay(dora, shop, 2_000 + number, "Corner Shop")["status"] == "posted", "an ordinary payment is posted")
time.sleep(2)

step("Then a burst that is unlike them: it waits for a person")
waiting = [pay(dora, stranger, 50_000, "Invoice")["id"] for stranger in strangers]
analyst = log_in(given.analyst, given.analyst_password)


def alert_of(transfer):
    alerts = call("GET", "/fraud/alerts?limit=100", analyst)["data"]
    return next((alert for alert in alerts if alert["transfer_id"] == transfer), None)


def decide(alert, outcome, fraud, reason):
    call("POST", f"/fraud/alerts/{alert['id']}/claim", analyst, show=["status"])
    decision = {"outcome": outcome, "fraud": fraud, "reason": reason}
    call("POST", f"/fraud/alerts/{alert['id']}/decide", analyst, decision, ["status"])


alerts = [wait_for("its alert is open", lambda transfer=transfer: alert_of(transfer)) for transfer in waiting]
for alert in alerts:
    print(f"  why: {alert['sentence']}")
    must(alert["sentence"], "it says why")
call("GET", f"/fraud/decisions/{waiting[0]}", analyst, show=["transfer_id", "score"])

step("The analyst claims both, releases one and refuses the other")
for alert, outcome, fraud in zip(alerts, ["release", "refuse"], [False, True]):
    decide(alert, outcome, fraud, "Called Dora.")

step("Dora sees both outcomes")
outcomes = [call("GET", f"/transfers/{transfer}", dora[0], show=["status"])["status"] for transfer in waiting]
must(outcomes == ["posted", "rejected"], "one is posted and one rejected")

step("Both are labelled: models learn from that")
for transfer, fraud in zip(waiting, [False, True]):
    labels = wait_for("it has a label", lambda transfer=transfer: call("GET", f"/fraud/decisions/{transfer}", analyst, show=["labels"])["labels"])
    must(labels[0]["fraud"] == fraud, "the label is the analyst's")

step("And what her transfers tell Dora herself")
call("GET", "/insights/categories?currency=USD", dora[0], show=["data"])

step("A trick that no model knows: four people buy at a grocer, and what never arrives from somewhere else")
_, grocer = customer("grocer")
_, fake = customer("fake-shop")
genuine, frauds = [], []
for number in range(4):
    victim = customer("victim", 100_000)
    for purchase in range(3):
        genuine.append(pay(victim, grocer, 2_000 + 300 * purchase + 10 * number, "Groceries")["id"])
        frauds.append(pay(victim, fake, 1_499, "Trial")["id"])
        genuine.append(pay(victim, grocer, 2_500 + 100 * purchase, "Groceries")["id"])

step("They dispute it, and the analyst tells which were fraud")
told = [{"transfer_id": it, "fraud": False} for it in genuine] + [{"transfer_id": it, "fraud": True} for it in frauds]


def all_labelled():
    results = call("POST", "/fraud/labels", analyst, {"labels": told, "source": "dispute"})["results"]
    return all(it["result"] != "unknown_transfer" for it in results)


wait_for("all are labelled", all_labelled)

step("What is known becomes a model: whatever was known by now is learnt from")
files = tempfile.TemporaryDirectory(prefix="flowlet-tour-")
payments, model = f"{files.name}/payments.csv", f"{files.name}/model.json"
run(analyst, "export", payments)
with open(payments) as lines:
    print(f"  {len(lines.readlines()) - 1} payments")
run(analyst, "train", "--data", payments, "--test-from", str(int(time.time()) + 1), "--trees", "50", "--out", model)
registered = json.loads(run(analyst, "register", model))
print(f"  {registered['id']}  {registered['status']}  {registered['card']['positives']} frauds of {registered['card']['rows']} rows")

step("It watches: it scores what Erin pays after the answer, and decides nothing")
run(analyst, "shadow", registered["id"])
erin = customer("erin", 100_000)


def watched():
    pay(erin, grocer, 2_400, "Groceries")
    shadows = json.loads(run(analyst, "drift"))["shadows"]
    mine = next((it for it in shadows if it["model_id"] == registered["id"]), None)
    return mine and mine["scores"] and mine


print(f"  beside the model that decides: {json.dumps(wait_for('the shadow has scored', watched))}")

step("It decides when it is no worse and a second person agrees")
proposed = json.loads(run(analyst, "promote", registered["id"]))
print(f"  {json.dumps(proposed['gate'])}")
run(analyst, "promote", registered["id"], refused="separation_of_duties")
second = log_in(given.second, given.second_password)
print(f"  approved by {json.loads(run(second, 'promote', registered['id']))['approved_by']}")

step("The trick again, under another name: Erin's payment waits")
_, other = customer("other-fake-shop")


def stopped():
    payment = pay(erin, other, 1_499, "Trial")
    return payment["status"] == "in_review" and payment["id"]


tried = wait_for("the new model stops it", stopped)
score = call("GET", f"/fraud/decisions/{tried}", analyst, show=["score"])["score"]
must(score["model"] == registered["sha256"], "the new model has decided")
decide(wait_for("its alert is open", lambda: alert_of(tried)), "refuse", True, "The same trick.")

step("And one person goes back to the model from before, at once")
print(f"  {run(analyst, 'rollback').strip()}")


def decided_as_before():
    paid = pay(erin, grocer, 2_400, "Groceries")["id"]
    return call("GET", f"/fraud/decisions/{paid}", analyst)["score"]["model"] != registered["sha256"]


wait_for("the model from before decides", decided_as_before)

print(f"\nThat was the tour. The whole API is at {given.gateway}/docs")
