"""Takes in deliveries of providers: whose is it, is it genuine, keep it. Applying it is somebody else's work.

raw bytes ─ api ─▶ Delivery
  [pure]   what the body says of its account: a hint that chooses secrets and nothing else
  [read]   must it be signed, and for which accounts may it be                           → Candidates
  [pure]   the verdict by their secrets
  [write]  the inbox, committed                                                           → Receipt, and the answer
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final
from uuid import UUID

from uuid_utils.compat import uuid7

from backend.app.domain.finding import Finding, FindingType, Severity
from backend.app.domain.monitor.evidence import Claim
from backend.app.domain.payments.payout import find_attempt_name
from backend.app.domain.payments.psp_delivery import (
    UNVERIFIED_BODY_BYTES_MAX,
    Delivery,
    InboxFull,
    Receipt,
    Stored,
    StoreDelivery,
    UnknownProvider,
    WebhookSignatureInvalid,
    kept_headers,
)
from backend.app.domain.payments.psp_event import PspEvent
from backend.app.psp.registry import SCHEMES
from backend.app.psp.webhook import Secret, SignatureStatus, UnparsableEvent, Verdict, WebhookScheme
from backend.app.repositories import deposit_repo
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.deposit_repo import PaymentName
from backend.app.repositories.group_commit import GroupCommit
from backend.app.repositories.payments import psp_account_repo, psp_event_repo
from backend.app.repositories.payments.psp_account_repo import Candidate
from backend.app.repositories.reconciliation import finding_repo
from backend.app.services.evidence import Evidence
from backend.app.services.payments import psp_telemetry
from backend.app.services.payments.webhook_secrets import SHARED_NAMES, WebhookSecrets

# With a previous secret each, no more than a scheme tries (SECRETS_MAX). An account beyond them needs to be named, by
# the address or by the body.
CANDIDATES_MAX: Final = 25
HINTS_MAX: Final = 5
# Addresses that a provider's deliveries come from, by provider.
SourceRanges = Mapping[str, Sequence[IPv4Network | IPv6Network]]
# The name that a delivery is read under before anybody vouches for its own.
UNNAMED: Final = "unnamed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A secret's name, and the account that a delivery is for when this secret signed it; None: it names none."""

    secret_name: str
    account: Candidate | None
    account_id: str


class Webhooks:
    """The intake of webhooks. Built once per process.

    evidence: where deliveries are counted, by the minute. sources: where a provider's deliveries come from, for those
    that say so; an unsigned one from there is a problem of ours or theirs, and no stranger's.
    """

    def __init__(
        self,
        database: Database,
        secrets: WebhookSecrets,
        *,
        evidence: Evidence | None = None,
        sources: SourceRanges | None = None,
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._evidence = evidence
        self._sources = sources or {}
        self._writer: GroupCommit[StoreDelivery, Stored] = GroupCommit(
            "psp_event", database, psp_event_repo.store_verified
        )

    async def receive(self, delivery: Delivery) -> Receipt:
        """Keep a delivery; when this returns it is committed.

        Raises UnknownProvider, WebhookSignatureInvalid where signatures are enforced, InboxFull, and what says that the
        database cannot be reached. A delivery that is not verified is kept as a hint: its body decides nothing.
        """
        scheme = SCHEMES.get(delivery.provider)
        if scheme is None:
            raise UnknownProvider
        events = _read_unverified(scheme, delivery.raw_body)
        is_enforced, signers = await self._find_signers(delivery, events)
        verdict, signer = self._judge(scheme, delivery, signers)
        psp_telemetry.count_verdict(delivery, verdict, is_enforced=is_enforced)
        if self._evidence is not None:
            self._evidence.count_delivery(
                delivery.provider,
                result=verdict.status.value,
                is_credible=verdict.is_valid or self._comes_from_provider(delivery),
                claim=None if verdict.is_valid else _claim_of(events),
                received_at=delivery.received_at,
            )
        if signer is not None:
            return await self._keep_verified(delivery, verdict, signer, events)
        if is_enforced:
            raise WebhookSignatureInvalid
        return await self._keep_hint(delivery, verdict, signers)

    async def _find_signers(self, delivery: Delivery, events: Sequence[PspEvent]) -> tuple[bool, list[Signer]]:
        """Whether signatures are enforced, and whose would do. Raises UnknownProvider for an address of no account."""
        hints = list(dict.fromkeys(event.account_hint for event in events if event.account_hint))[:HINTS_MAX]
        async with self._database.connection() as conn:
            candidates = await psp_account_repo.list_candidates(
                conn,
                provider=delivery.provider,
                account_ids=hints if delivery.account_id is None else [delivery.account_id],
                is_named_only=delivery.account_id is not None,
                limit=CANDIDATES_MAX,
            )
        if delivery.account_id is not None and not candidates.accounts:
            raise UnknownProvider
        shared = SHARED_NAMES.get(delivery.provider)
        signers: dict[str, Signer] = {}
        for account in candidates.accounts:
            name = account.secret_name or shared
            if name is not None:
                signers.setdefault(name, Signer(secret_name=name, account=account, account_id=account.account_id))
        # An account that has a secret of its own is not believed by the one that others share.
        if shared is not None and not any(account.is_named for account in candidates.accounts):
            claimed = hints[0] if hints else ""
            signers[shared] = Signer(secret_name=shared, account=None, account_id=claimed)
        return candidates.is_enforced, list(signers.values())

    def _judge(
        self, scheme: WebhookScheme, delivery: Delivery, signers: Sequence[Signer]
    ) -> tuple[Verdict, Signer | None]:
        """The verdict, and who signed if it is valid. A forgery costs one reading of the body, whosever it may be."""
        by_signer = [(signer, self._secrets.list_of(signer.secret_name)) for signer in signers]
        every_secret = tuple(secret for _, secrets in by_signer for secret in secrets)
        verdict = _verify(scheme, delivery, every_secret)
        if not verdict.is_valid:
            return verdict, None
        for signer, secrets in by_signer:
            verdict = _verify(scheme, delivery, secrets)
            if verdict.is_valid:
                return verdict, signer
        raise AssertionError("what one of all secrets signed, one of them signed")

    async def _keep_verified(
        self, delivery: Delivery, verdict: Verdict, signer: Signer, events: Sequence[PspEvent]
    ) -> Receipt:
        kept = _kept(delivery, verdict, signer=signer)
        stored = await self._writer.submit(kept)
        # From here on the delivery is in the inbox.
        if stored.is_new:
            occurred_at = events[0].occurred_at if events else None
            if occurred_at is not None:
                age_seconds = (delivery.received_at - occurred_at).total_seconds()
                psp_telemetry.age_seconds.labels(delivery.provider).observe(max(age_seconds, 0.0))
        else:
            body = "same" if stored.is_same_body else "differs"
            psp_telemetry.duplicate_total.labels(delivery.provider, body).inc()
            if not stored.is_same_body:
                await self._report_other_body(kept, stored, events)
        return Receipt(event_id=stored.event_id, is_duplicate=not stored.is_new)

    async def _report_other_body(self, kept: StoreDelivery, stored: Stored, events: Sequence[PspEvent]) -> None:
        """The same name for something else: either the provider errs, or its secret is in wrong hands."""
        psp_telemetry.log.error(
            "psp_webhook.other_body", provider=kept.provider, event_id=str(stored.event_id), account_id=kept.account_id
        )
        async with self._database.transaction() as conn:
            first = await psp_event_repo.lock_one(conn, None, event_id=stored.event_id)
            assert first is not None, "what is verified is never removed"
            # By its account, or by our own record of the payment; the first may not be applied yet.
            tenant_id, tx_id = kept.tenant_id or first.tenant_id, first.tx_id
            for event in events if tenant_id is None or tx_id is None else ():
                found_tenant_id, found_tx_id = await _find_ours(conn, event)
                tenant_id = tenant_id or found_tenant_id
                tx_id = tx_id or (found_tx_id if tenant_id == found_tenant_id else None)
            if tenant_id is None:
                return
            await finding_repo.open_finding(
                conn,
                tenant_id,
                Finding(
                    provider=kept.provider,
                    tenant_id=tenant_id,
                    finding_type=FindingType.DUPLICATE_EVENT_BODY_DIFFERS,
                    severity=Severity.HIGH,
                    subject=f"event:{kept.account_id}:{kept.provider_event_id}",
                    message="a provider event came again with another body; the first one counts",
                    evidence={"event_id": str(stored.event_id), "other_body_sha256": kept.body_sha256.hex()},
                    tx_id=tx_id,
                    provider_event_id=kept.provider_event_id,
                ),
            )

    async def _keep_hint(self, delivery: Delivery, verdict: Verdict, signers: Sequence[Signer]) -> Receipt:
        claimed = signers[0] if len(signers) == 1 else None
        kept = _kept(delivery, verdict, signer=None, claimed_account_id=claimed.account_id if claimed else "")
        async with self._database.connection() as conn:
            if not await psp_event_repo.store_unverified(conn, kept):
                raise InboxFull
        return Receipt(event_id=kept.event_id, is_duplicate=False)

    def _comes_from_provider(self, delivery: Delivery) -> bool:
        ranges = self._sources.get(delivery.provider)
        if not ranges or delivery.source_address is None:
            return False
        try:
            address = ip_address(delivery.source_address)
        except ValueError:
            # A socket of the machine itself has a name and no address.
            return False
        return any(address in known for known in ranges)

    async def drain(self, *, deadline_seconds: float) -> None:
        """Wait for deliveries under way."""
        await self._writer.drain(deadline_seconds=deadline_seconds)


def _claim_of(events: Sequence[PspEvent]) -> Claim | None:
    """The payment that an unverified delivery names first: whether it is one of ours is looked up later."""
    named = next((event for event in events if event.reference or event.provider_ref), None)
    return None if named is None else Claim(reference=named.reference, provider_ref=named.provider_ref)


def _read_unverified(scheme: WebhookScheme, raw_body: bytes) -> tuple[PspEvent, ...]:
    """What the body claims, before anybody vouches for it; nothing if it cannot be read."""
    try:
        return scheme.parse_event(raw_body, delivery_id=UNNAMED)
    except UnparsableEvent:
        return ()


def _verify(scheme: WebhookScheme, delivery: Delivery, secrets: Sequence[Secret]) -> Verdict:
    if not secrets:
        return Verdict(status=SignatureStatus.NO_SECRET)
    return scheme.verify_webhook(delivery.raw_body, headers=delivery.headers, secrets=secrets, now=delivery.received_at)


def _kept(
    delivery: Delivery, verdict: Verdict, *, signer: Signer | None, claimed_account_id: str = ""
) -> StoreDelivery:
    is_verified = signer is not None
    return StoreDelivery(
        event_id=uuid7(),
        provider=delivery.provider,
        account_id=signer.account_id if signer else claimed_account_id,
        provider_event_id=verdict.provider_event_id,
        is_verified=is_verified,
        signature_result=verdict.status.value,
        secret_name=signer.secret_name if signer else None,
        tenant_id=signer.account.tenant_id if signer and signer.account else None,
        body=delivery.raw_body if is_verified else delivery.raw_body[:UNVERIFIED_BODY_BYTES_MAX],
        body_size=len(delivery.raw_body),
        body_sha256=hashlib.sha256(delivery.raw_body).digest(),
        headers=kept_headers(delivery.headers),
        request_id=delivery.request_id,
        received_at=delivery.received_at,
    )


async def _find_ours(conn: Connection, event: PspEvent) -> tuple[UUID | None, UUID | None]:
    """Whose deposit or withdrawal an event speaks of, and which; (None, None) when it is none of ours."""
    attempt = find_attempt_name(event.reference)
    if attempt is not None:
        tenant_id = await psp_event_repo.find_withdrawal_tenant(conn, withdrawal_id=attempt.withdrawal_id)
        return (None, None) if tenant_id is None else (tenant_id, attempt.withdrawal_id)
    key = await deposit_repo.find_payment(conn, PaymentName(event.provider, event.reference, event.provider_ref))
    return (None, None) if key is None else (key.tenant_id, key.deposit_id)
