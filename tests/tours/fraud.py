#!/usr/bin/env python3
"""A tour of fraud: every request that it makes, and what was answered.

    cargo dev                           # in one terminal
    python3 tests/tours/fraud.py        # in another

Dora pays a shop small amounts, and then somebody pays strangers large ones out of her account. They wait for a person, with a
sentence that says why. An analyst claims two, releases one and refuses the other; Dora sees both outcomes, and both have labels
that models learn from. At the end it shows what her transfers tell herself.
"""

import argparse
import time
import uuid

from api import Api, must, step

arguments = argparse.ArgumentParser(description="A tour of fraud.")
arguments.add_argument("--gateway", default="http://127.0.0.1:8080", help="its URL")
arguments.add_argument("--analyst", default="officer@example.com", help="the e-mail of somebody with the role compliance or admin")
arguments.add_argument("--analyst-password", default="flowlet-demo-password")
given = arguments.parse_args()
call = Api(given.gateway).call


def log_in(email, password):
    return call("POST", "/auth/login", body={"email": email, "password": password})["access_token"]


def customer(name):
    """A new customer: the token, and an account in dollars."""
    email = f"{name}-{uuid.uuid4().hex[:12]}@example.com"
    password = f"tour-{uuid.uuid4().hex}"
    call("POST", "/auth/register", body={"email": email, "password": password, "name": name})
    token = log_in(email, password)
    return token, call("POST", "/accounts", token, {"kind": "checking", "currency": "USD"}, ["id"])["id"]


def pay(to, amount, description):
    body = {"debit_account_id": doras, "credit_account_id": to, "amount": amount, "currency": "USD", "description": description}
    return call("POST", "/transfers", dora, body, ["id", "status"])


def wait_for(what, condition):
    for _ in range(100):
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    must(False, what)


step("Dora and a shop, and two strangers")
dora, doras = customer("dora")
_, shop = customer("shop")
strangers = [customer("stranger")[1] for _ in range(2)]
call("POST", "/payments/deposits", dora, {"account_id": doras, "amount": 1_000_000, "currency": "USD"}, ["status"])

step("Her habits: small amounts to the shop")
for number in range(6):
    must(pay(shop, 2_000 + number, "Corner Shop")["status"] == "posted", "an ordinary payment is posted")
time.sleep(2)

step("Then a burst that is unlike them: it waits for a person")
waiting = [pay(stranger, 50_000, "Invoice")["id"] for stranger in strangers]
analyst = log_in(given.analyst, given.analyst_password)


def alert_of(transfer):
    alerts = call("GET", "/fraud/alerts?limit=100", analyst)["data"]
    return next((alert for alert in alerts if alert["transfer_id"] == transfer), None)


alerts = [wait_for("its alert is open", lambda transfer=transfer: alert_of(transfer)) for transfer in waiting]
for alert in alerts:
    print(f"  why: {alert['sentence']}")
    must(alert["sentence"], "it says why")
call("GET", f"/fraud/decisions/{waiting[0]}", analyst, show=["transfer_id", "score"])

step("The analyst claims both, releases one and refuses the other")
for alert, outcome, fraud in zip(alerts, ["release", "refuse"], [False, True]):
    call("POST", f"/fraud/alerts/{alert['id']}/claim", analyst, show=["status"])
    decision = {"outcome": outcome, "fraud": fraud, "reason": "Called Dora."}
    call("POST", f"/fraud/alerts/{alert['id']}/decide", analyst, decision, ["status"])

step("Dora sees both outcomes")
outcomes = [call("GET", f"/transfers/{transfer}", dora, show=["status"])["status"] for transfer in waiting]
must(outcomes == ["posted", "rejected"], "one is posted and one rejected")

step("Both are labelled: models learn from that")
for transfer, fraud in zip(waiting, [False, True]):
    labels = wait_for("it has a label", lambda transfer=transfer: call("GET", f"/fraud/decisions/{transfer}", analyst, show=["labels"])["labels"])
    must(labels[0]["fraud"] == fraud, "the label is the analyst's")

step("And what her transfers tell Dora herself")
call("GET", "/insights/categories?currency=USD", dora, show=["data"])

print(f"\nThat was the tour. The whole API is at {given.gateway}/docs")
