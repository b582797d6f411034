#!/usr/bin/env python3
"""A tour of logging in: every request that it makes, and what was answered.

    cargo dev                                          # in one terminal: it prints where mail is written to
    python3 tests/tours/auth.py --mail <directory>     # in another

A new customer verifies the e-mail, sets up an app that shows codes and logs in with it, ends a session elsewhere, and makes an
API key for a program. An administrator switches second factors on for it, if they are off.
"""

import argparse
import base64
import hashlib
import hmac
import pathlib
import re
import struct
import sys
import time
import uuid

from api import Api, must, step

arguments = argparse.ArgumentParser(description="A tour of logging in.")
arguments.add_argument("--mail", required=True, type=pathlib.Path, help="the directory that mail is written to")
arguments.add_argument("--gateway", default="http://127.0.0.1:8080", help="its URL")
arguments.add_argument("--admin", default="admin@example.com", help="the e-mail of an administrator")
arguments.add_argument("--admin-password", default="flowlet-demo-password")
given = arguments.parse_args()
call = Api(given.gateway).call

EMAIL = f"carol-{uuid.uuid4().hex[:12]}@example.com"
PASSWORD = f"tour-{uuid.uuid4().hex}"


def log_in(email, password, **more):
    return call("POST", "/auth/login", body={"email": email, "password": password}, **more)


def mailed_token(kind):
    """The token of the link in a mail of this kind."""
    for _ in range(300):
        for mail in sorted(given.mail.glob(f"*-{kind}.eml")):
            text = mail.read_text()
            if f"To: {EMAIL}" in text:
                return re.search(r"\?token=([\w-]+)", text).group(1)
        time.sleep(0.1)
    sys.exit(f"  no mail of the kind {kind} in {given.mail}")


def code(secret, seconds_ago=0):
    """What an app shows (RFC 6238)."""
    steps = struct.pack(">Q", int(time.time() - seconds_ago) // 30)
    digest = hmac.new(base64.b32decode(secret + "=" * (-len(secret) % 8)), steps, hashlib.sha1).digest()
    offset = digest[-1] & 15
    number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF
    return f"{number % 1_000_000:06}"


step("Second factors are on")
admin = log_in(given.admin, given.admin_password)["access_token"]
call("PUT", "/auth/modules/two-factor", admin, {"enabled": True}, ["name", "enabled"])

step("Carol registers, and gets a mail")
call("POST", "/auth/register", body={"email": EMAIL, "password": PASSWORD, "name": "Carol"})
verified = call("POST", "/auth/email/verify", body={"token": mailed_token("email_verification")}, show=["user"])
must(verified["user"]["email_verified"], "her e-mail is verified")

step("She sets up an app that shows codes")
carol = log_in(EMAIL, PASSWORD)["access_token"]
app = call("POST", "/auth/two-factor/methods", carol, {"method": "totp"}, ["secret", "uri"])
# The code of half a minute ago still counts, and leaves the one of now for the login.
first = {"code": code(app["secret"], seconds_ago=30)}
recovery = call("POST", "/auth/two-factor/methods/totp/activate", carol, first)["recovery_codes"]
print(f"  {len(recovery)} recovery codes, such as {recovery[0]}")

step("From now on her password is not enough")
waiting = log_in(EMAIL, PASSWORD, show=["methods", "expires_in"], expect=202)
call("GET", "/auth/me", waiting["session_id"], expect=401)
second = {"session_id": waiting["session_id"], "method": "totp", "code": code(app["secret"])}
login = call("POST", "/auth/two-factor/login", body=second, show=["token_type", "expires_in"])
call("POST", "/auth/two-factor/login", body=second, expect=401)

step("A browser has the session itself, and the gateway takes that too")
me = call("GET", "/auth/me", headers={"x-session-id": login["session_id"]})["user"]
must(me["email"] == EMAIL, "it is hers")

step("She sees where she is logged in, and ends the older session: its token is refused at once")
sessions = call("GET", "/auth/sessions", login["access_token"])["sessions"]
for session in sessions:
    print(f"  {session['id']}  {'+'.join(session['amr'])}{'  (this one)' if session['current'] else ''}")
older = [session["id"] for session in sessions if not session["current"]]
must(len(older) == 1, "there is one other session")
call("DELETE", f"/auth/sessions/{older[0]}", login["access_token"])
time.sleep(1)
call("GET", "/accounts", carol, expect=401)

step("A program of hers may read, and nothing else")
key = call("POST", "/auth/api-keys", login["access_token"], {"name": "Reports", "scopes": ["read"]}, ["id", "scopes", "expires_at"])
call("GET", "/accounts", key["key"], show=["data"])
call("POST", "/accounts", key["key"], {"kind": "checking", "currency": "USD"}, expect=403)
call("DELETE", f"/auth/api-keys/{key['id']}", login["access_token"])
time.sleep(1)
call("GET", "/accounts", key["key"], expect=401)

print(f"\nThat was the tour. The whole API is at {given.gateway}/docs")
