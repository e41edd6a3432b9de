"""A client of a player's wallet, with the standard library only: what a careful integration does, to read and to copy.

    HAKEM_PLAYER_PASSWORD=… python examples/wallet_client.py --tenant ID --email E balance
    HAKEM_PLAYER_PASSWORD=… python examples/wallet_client.py --tenant ID --email E deposit 25.00 --key order-17
    HAKEM_PLAYER_PASSWORD=… python examples/wallet_client.py --tenant ID --email E withdraw 10.00 --key out-3

The rule that everything else follows from: a call that moves money has a key, the key is known before the first byte is
sent, and until an answer has come the same request is sent again under the same key. Nothing can happen twice, so the
only thing to be afraid of is giving up without remembering the key.
"""

import argparse
import http.client
import json
import os
import random
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Self
from urllib.parse import urlencode
from uuid import uuid4

# The service gives up on its own database after 10 s and on a provider after 10 s more.
TIMEOUT_SECONDS: Final = 30.0
ATTEMPTS_MAX: Final = 8
FIRST_PAUSE_SECONDS: Final = 0.2
PAUSE_SECONDS_MAX: Final = 10.0
PAGE: Final = 200
# Answers after which the same request is sent again: overloaded, restarting, a proxy that lost the service, a bug.
WORTH_REPEATING: Final = frozenset({429, 500, 502, 503, 504})
# Nothing more happens by itself. A withdrawal that failed is not in it: finance pays it again or gives it up.
FINAL_STATES: Final = {
    "deposit": frozenset({"completed", "failed", "refunded"}),
    "withdrawal": frozenset({"paid", "rejected", "cancelled", "returned"}),
}


class WalletError(Exception):
    """Anything that keeps a call from its answer."""


class Refused(WalletError):
    """The service answered, and the answer is no. The same request under the same key gets the same answer.

    error_code: for programs, stable. detail: for people. request_id: what support asks for.
    """

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        self.status = status
        self.error_code = str(document.get("error_code", "UNKNOWN"))
        self.detail = str(document.get("detail", ""))
        self.request_id = str(document.get("request_id", ""))
        super().__init__(f"{status} {self.error_code}: {self.detail} (request {self.request_id})")


class KeyReused(Refused):
    """409: the key was used for another request before. A mistake of this program: do not repeat, find out which."""


class OutcomeUnknown(WalletError):
    """No answer came in all attempts. The money may have moved: keep the key and call again with it later."""

    def __init__(self, what: str, key: str | None) -> None:
        self.key = key
        super().__init__(f"{what}: no answer" + (f"; call again with the key {key}" if key else ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What the player has, in major units. held: set aside for open withdrawals."""

    currency: str
    available: Decimal
    held: Decimal

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Of an answer of the service."""
        return cls(
            currency=document["currency"],
            available=Decimal(document["available_real"]),
            held=Decimal(document["held_real"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A deposit or a withdrawal; the amount in major units."""

    id: str
    type: str
    amount: Decimal
    currency: str
    state: str
    idempotency_key: str
    created_at: datetime

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.state in FINAL_STATES[self.type]

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Of an answer of the service. Members that are not known here are left alone: releases add some."""
        return cls(
            id=document["id"],
            type=document["type"],
            amount=Decimal(document["amount"]),
            currency=document["currency"],
            state=document["state"],
            idempotency_key=document["idempotency_key"],
            created_at=datetime.fromisoformat(document["created_at"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a deposit or a withdrawal came to. is_replay: it had been answered before, perhaps to nobody."""

    transaction: Transaction
    balance: Balance
    is_replay: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Response:
    status: int
    headers: Mapping[str, str]
    document: Any


class WalletClient:
    """One player's wallet. Signs in when it has to; not for several threads at once.

    pause: how to wait between attempts, in seconds.
    """

    def __init__(
        self,
        base_url: str,
        *,
        tenant_id: str,
        email: str,
        password: str,
        attempts_max: int = ATTEMPTS_MAX,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._tenant_id = tenant_id
        self._email = email
        self._password = password
        self._attempts_max = attempts_max
        self._pause = pause
        self._token: str | None = None

    def balance(self) -> Balance:
        """The balance as the arbiter sees it. Raises Refused, OutcomeUnknown."""
        return Balance.read(self._call("GET", "/player/wallet/balance"))

    def deposit(self, amount: Decimal, *, method: str, key: str) -> Answer:
        """Pay in. The state may be `pending_provider`; the provider's word completes it (`wait_until_final`).

        Raises Refused, KeyReused, OutcomeUnknown.
        """
        return self._move("deposit", {"amount": str(amount), "method": method}, key=key)

    def withdraw(self, amount: Decimal, *, method: str, address: str, key: str) -> Answer:
        """Ask for money: it is held until finance decides. Raises Refused, KeyReused, OutcomeUnknown.

        After `INSUFFICIENT_FUNDS` a new attempt is a new request and takes a new key: the old one stays refused.
        """
        return self._move("withdraw", {"amount": str(amount), "method": method, "address": address}, key=key)

    def iterate_transactions(self) -> Iterator[Transaction]:
        """Deposits and withdrawals, newest first. One that comes in meanwhile may push an older one to the next page,
        so each id is yielded once.
        """
        seen: set[str] = set()
        offset = 0
        while True:
            query = urlencode({"limit": PAGE, "offset": offset})
            page = self._call("GET", f"/player/wallet/transactions?{query}")
            for item in page["items"]:
                if item["id"] not in seen:
                    seen.add(item["id"])
                    yield Transaction.read(item)
            offset += len(page["items"])
            if not page["items"] or offset >= page["meta"]["total"]:
                return

    def wait_until_final(self, transaction_id: str, *, deadline_seconds: float = 60.0) -> Transaction:
        """Look again and again until nothing more happens by itself. Raises LookupError, TimeoutError."""
        deadline = time.monotonic() + deadline_seconds
        attempt = 0
        while True:
            found = next((each for each in self.iterate_transactions() if each.id == transaction_id), None)
            if found is None:
                raise LookupError(transaction_id)
            if found.is_final:
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"{transaction_id} is {found.state} after {deadline_seconds:.0f} s")
            self._pause(_backoff(attempt))
            attempt += 1

    def _move(self, what: str, body: Mapping[str, str], *, key: str) -> Answer:
        response = self._send("POST", f"/player/wallet/{what}", body=body, key=key)
        return Answer(
            transaction=Transaction.read(response.document["transaction"]),
            balance=Balance.read(response.document["balance"]),
            is_replay=response.headers.get("idempotent-replayed") == "true",
        )

    def _call(self, method: str, path: str) -> Any:
        return self._send(method, path).document

    def _send(
        self, method: str, path: str, *, body: Mapping[str, str] | None = None, key: str | None = None
    ) -> _Response:
        """The answer to a request of a signed-in player; a token that has ended is replaced once."""
        for _ in range(2):
            headers = {"Authorization": f"Bearer {self._token or self._sign_in()}"}
            if key is not None:
                headers["Idempotency-Key"] = key
            response = self._persist(method, path, body=body, headers=headers, key=key)
            if response.status != http.client.UNAUTHORIZED:
                break
            self._token = None
        return _accepted(response)

    def _sign_in(self) -> str:
        body = {"tenant_id": self._tenant_id, "email": self._email, "password": self._password}
        response = _accepted(self._persist("POST", "/auth/player/login", body=body, headers={}, key=None))
        self._token = token = str(response.document["access_token"])
        return token

    def _persist(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, str] | None,
        headers: Mapping[str, str],
        key: str | None,
    ) -> _Response:
        """Send the very same request until somebody answers who knows. Raises OutcomeUnknown."""
        for attempt in range(self._attempts_max):
            wait_seconds = _backoff(attempt)
            try:
                response = self._once(method, path, body=body, headers=headers)
            except (OSError, http.client.HTTPException):
                # Refused, reset, timed out, cut off in the middle: whether it was done is not known, and need not be.
                pass
            else:
                if response.status not in WORTH_REPEATING:
                    return response
                asked = float(response.headers.get("retry-after", "0"))
                if asked > PAUSE_SECONDS_MAX:
                    # Too many failed sign-ins: minutes, not seconds. That is for the caller to know.
                    return response
                wait_seconds = max(wait_seconds, asked)
            if attempt + 1 < self._attempts_max:
                self._pause(wait_seconds)
        raise OutcomeUnknown(f"{method} {path}", key)

    def _once(self, method: str, path: str, *, body: Mapping[str, str] | None, headers: Mapping[str, str]) -> _Response:
        request = urllib.request.Request(
            f"{self._base_url}/api/v1{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Accept": "application/json", "Content-Type": "application/json", **headers},
            method=method,
        )
        try:
            answer = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            content = answer.read()
            return _Response(
                status=answer.status,
                headers={name.lower(): value for name, value in answer.headers.items()},
                document=_decoded(content),
            )


def _accepted(response: _Response) -> _Response:
    """The response, if it is a good one. Raises Refused or KeyReused."""
    if response.status < http.client.BAD_REQUEST:
        return response
    document = response.document if isinstance(response.document, dict) else {}
    kind = KeyReused if document.get("error_code") == "IDEMPOTENCY_KEY_REUSE_CONFLICT" else Refused
    raise kind(response.status, document)


def _decoded(content: bytes) -> Any:
    """The JSON of a body; None for what a proxy made up in its own words."""
    try:
        return json.loads(content)
    except ValueError:
        return None


def _backoff(attempt: int) -> float:
    """Twice as long each time, and never the same for two clients that failed together."""
    longest = min(FIRST_PAUSE_SECONDS * 2.0 ** min(attempt, 10), PAUSE_SECONDS_MAX)
    return random.uniform(longest / 2, longest)


def main() -> int:
    """The command line: 0 done, 1 refused, 3 nobody answered."""
    parser = argparse.ArgumentParser(description="A player's wallet.")
    parser.add_argument("--base-url", default="http://127.0.0.1:8001")
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--email", required=True)
    parser.add_argument("what", choices=("balance", "deposit", "withdraw", "transactions"))
    parser.add_argument("amount", nargs="?", type=Decimal)
    parser.add_argument("--method", default="test_bank")
    parser.add_argument("--address", default="DE02120300000000202051")
    parser.add_argument("--key", help="the request's name; repeat it after an unknown outcome")
    asked = parser.parse_args()
    if asked.what in {"deposit", "withdraw"} and asked.amount is None:
        parser.error(f"{asked.what} needs an amount")
    client = WalletClient(
        asked.base_url, tenant_id=asked.tenant, email=asked.email, password=os.environ["HAKEM_PLAYER_PASSWORD"]
    )
    key = asked.key or str(uuid4())
    try:
        _perform(client, asked, key=key)
    except Refused as refusal:
        print(refusal, file=sys.stderr)
        return 1
    except OutcomeUnknown as unknown:
        print(unknown, file=sys.stderr)
        return 3
    return 0


def _perform(client: WalletClient, asked: argparse.Namespace, *, key: str) -> None:
    if asked.what == "balance":
        print(client.balance())
        return
    if asked.what == "transactions":
        for each in client.iterate_transactions():
            print(each)
        return
    # Before anything is sent: whoever is interrupted now can go on with it.
    print(f"key {key}", file=sys.stderr, flush=True)
    if asked.what == "deposit":
        answer = client.deposit(asked.amount, method=asked.method, key=key)
    else:
        answer = client.withdraw(asked.amount, method=asked.method, address=asked.address, key=key)
    print(f"{answer.transaction.state} {answer.transaction.id} replay={str(answer.is_replay).lower()}")
    print(answer.balance)


if __name__ == "__main__":
    sys.exit(main())
