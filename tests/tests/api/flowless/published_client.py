#!/usr/bin/env python3
"""What a program does that was written for Flowless: all of it through the client that others publish as flowfull-python.

It prints a line for each call that gave what it expects, and ends with an error at the first that did not.
"""

import argparse
import base64
import pathlib
import re
import tempfile
import time
import uuid

from core import FlowfullClient
from core.errors import FlowfullError
from core.storage import MemoryStorage
from core.types import ProfileUpdate, RegisterData

arguments = argparse.ArgumentParser()
arguments.add_argument("--gateway", required=True)
arguments.add_argument("--mail", required=True, type=pathlib.Path, help="the directory that mail is written to")
given = arguments.parse_args()

NAME = f"grace_{uuid.uuid4().hex[:8]}"
EMAIL = f"{NAME}@example.com"
PASSWORD, NEXT_PASSWORD, LAST_PASSWORD = (f"{word}-{uuid.uuid4().hex}" for word in ("first", "second", "third"))
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def program():
    return FlowfullClient(given.gateway, storage=MemoryStorage(), include_session=True, retry_attempts=1)


def expect(holds, what):
    if not holds:
        raise SystemExit(f"not so: {what}")
    print(what)


def refused(call, what):
    try:
        call()
    except FlowfullError as error:
        print(f"{what}: {error}")
        return
    raise SystemExit(f"not refused: {what}")


def mailed_token(kind):
    for _ in range(300):
        for mail in sorted(given.mail.glob(f"*-{kind}.eml")):
            text = mail.read_text()
            if f"To: {EMAIL}" in text:
                return re.search(r"\?token=([\w-]+)", text).group(1)
        time.sleep(0.1)
    raise SystemExit(f"no mail of the kind {kind}")


client = program()
auth = client.auth()
begun = auth.register(RegisterData(email=EMAIL, password=PASSWORD, name="Grace", last_name="Hopper", user_name=NAME))
expect(begun.user.email == EMAIL and begun.session_id, "registered")
expect(auth.get_profile().last_name == "Hopper", "has a profile")
expect(auth.update_profile(ProfileUpdate(name="Amazing Grace")).name == "Amazing Grace", "changed it")
expect(auth.refresh_user().name == "Amazing Grace", "sees the change")
valid = auth.validate_session()
expect(valid.valid and valid.user.id == begun.user.id and valid.session.user_id == begun.user.id, "has a session")
expect(auth.resend_verification(EMAIL), "asked for another mail")
expect(auth.verify_email(mailed_token("email_verification")), "verified the e-mail")
expect(auth.get_profile().is_verified, "is verified")

with tempfile.NamedTemporaryFile(suffix=".png") as picture:
    picture.write(PIXEL)
    picture.flush()
    expect(auth.upload_picture(picture.name).url, "has a picture")

refused(lambda: auth.change_password("wrong-password", NEXT_PASSWORD), "a wrong password changes nothing")
expect(auth.change_password(PASSWORD, NEXT_PASSWORD), "changed the password")
expect(auth.logout(), "logged out")
refused(auth.get_profile, "who is logged out has no profile")
refused(lambda: auth.login(email=EMAIL, password=PASSWORD), "the old password is refused")
expect(auth.login(email=EMAIL, password=NEXT_PASSWORD).user.id == begun.user.id, "logged in by e-mail")
expect(auth.login(user_name=NAME, password=NEXT_PASSWORD).user.id == begun.user.id, "logged in by user name")

expect(auth.request_password_reset(EMAIL), "asked for a new password")
token = mailed_token("password_reset")
expect(auth.validate_reset_token(token).valid, "the token of the mail is valid")
expect(auth.complete_password_reset(token, LAST_PASSWORD), "set a new password")
refused(lambda: auth.validate_reset_token(token), "the token works once")
expect(auth.login(email=EMAIL, password=LAST_PASSWORD).session_id, "logged in with it")

other = program().auth()
expect(other.create_login_token(EMAIL).token == "", "asked for a login by mail, and is told no token")
token = mailed_token("login_link")
expect(other.login_with_token(token).user.id == begun.user.id, "logged in with the one of the mail")
refused(lambda: program().auth().login_with_token(token), "that works once, too")
expect(isinstance(auth.get_social_providers().providers, list), "knows the providers")
expect(auth.get_social_accounts().accounts == [], "has none of their accounts")
print("That was all.")
