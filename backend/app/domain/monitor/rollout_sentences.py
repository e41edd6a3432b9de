"""One sentence for people, in Turkish or English: how many of how many, who, since when, and what to do. Pure."""

from collections.abc import Mapping
from datetime import UTC
from typing import Final, Literal

from backend.app.domain.monitor.assessment import Assessment, Flag, Verdict
from backend.app.domain.monitor.bucket import Stream, Trigger
from backend.app.domain.monitor.rollout_actions import Action, Recommendation

Language = Literal["tr", "en"]

# What happened to x of n. Of the streams that compare both sides there is a second wording for while the legacy column
# decides, when nobody was harmed yet.
_HAPPENED: Final[Mapping[Language, Mapping[tuple[Stream, bool], str]]] = {
    "en": {
        (Stream.T1_DISPUTED, True): "{x} of {n} decisions on withdrawals ({rate}) were refused although the legacy "
        "balance would have allowed them",
        (Stream.T1_DISPUTED, False): "the ledger would have refused {x} of {n} decisions on withdrawals ({rate}) that "
        "the legacy balance allowed",
        (Stream.T1_OVERPAID, True): "{x} of {n} decisions on withdrawals ({rate}) were allowed although the legacy "
        "balance would have refused them",
        (Stream.T1_OVERPAID, False): "the ledger would have allowed {x} of {n} decisions on withdrawals ({rate}) that "
        "the legacy balance refused",
        (Stream.T1_REFUSED, True): "{x} of {n} decisions on withdrawals ({rate}, usual {usual}) were refused for "
        "insufficient funds",
        (Stream.T2_REJECTED, True): "{x} of {n} deliveries from credible sources ({rate}, usual {usual}) had no valid "
        "signature",
        (Stream.T2_NOISE, True): "{x} of {n} deliveries from unknown sources ({rate}) had no valid signature",
        (Stream.T3_MISMATCH, True): "{x} of {n} comparisons ({rate}) found legacy balance and wallet different",
    },
    "tr": {
        (Stream.T1_DISPUTED, True): "{n} çekim kararından {x} tanesi ({rate}), eski bakiye yettiği hâlde reddedildi",
        (Stream.T1_DISPUTED, False): "eski bakiyenin onayladığı çekimlerde {n} karardan {x} tanesini ({rate}) ledger "
        "reddederdi",
        (Stream.T1_OVERPAID, True): "{n} çekim kararından {x} tanesi ({rate}), eski bakiye yetmediği hâlde onaylandı",
        (Stream.T1_OVERPAID, False): "eski bakiyenin reddettiği çekimlerde {n} karardan {x} tanesini ({rate}) ledger "
        "onaylardı",
        (Stream.T1_REFUSED, True): "{n} çekim kararından {x} tanesi ({rate}, olağan {usual}) yetersiz bakiye diye "
        "reddedildi",
        (Stream.T2_REJECTED, True): "güvenilir kaynaklardan gelen {n} bildirimden {x} tanesinin ({rate}, olağan "
        "{usual}) imzası geçersiz",
        (Stream.T2_NOISE, True): "bilinmeyen kaynaklardan gelen {n} bildirimden {x} tanesinin ({rate}) imzası geçersiz",
        (Stream.T3_MISMATCH, True): "{n} karşılaştırmadan {x} tanesinde ({rate}) eski bakiye ile cüzdan farklı",
    },
}

_VERDICTS: Final[Mapping[Language, Mapping[Verdict, str]]] = {
    "en": {
        Verdict.NO_DATA: "no data",
        Verdict.OK: "ok",
        Verdict.LIGHT: "light",
        Verdict.HIGH: "high",
        Verdict.SUSTAINED: "sustained",
        Verdict.CRITICAL: "critical",
    },
    "tr": {
        Verdict.NO_DATA: "veri yok",
        Verdict.OK: "olağan",
        Verdict.LIGHT: "hafif",
        Verdict.HIGH: "yüksek",
        Verdict.SUSTAINED: "sürekli",
        Verdict.CRITICAL: "kritik",
    },
}

_DONE: Final[Mapping[Language, Mapping[Action, str]]] = {
    "en": {
        Action.ROLLBACK: "the tenant goes back to the legacy balance by itself",
        Action.HOLD: "it is held",
        Action.FREEZE_FLEET: "no tenant is enforced until somebody lifts the freeze",
    },
    "tr": {
        Action.ROLLBACK: "kiracı kendiliğinden eski bakiyeye döndürülür",
        Action.HOLD: "kiracı bekletilir",
        Action.FREEZE_FLEET: "dondurma kaldırılana dek hiçbir kiracıda enforce açılmaz",
    },
}

_TODO: Final[Mapping[Language, Mapping[Action, str]]] = {
    "en": {
        Action.HOLD: "hold the tenant",
        Action.FREEZE_FLEET: "freeze the fleet",
        Action.ROLLBACK: "roll the tenant back",
        Action.SHOW: "look at these players",
        Action.BACKFILL_DRY_RUN: "run the backfill dry",
        Action.CENSUS: "run the census",
        Action.LIST_WALLETS: "list the wallets",
        Action.FORCED_BACKFILL_DRY_RUN: "run the forced backfill dry",
        Action.FORCED_BACKFILL: "then for real",
        Action.REVIEW_RULES: "review the business rules",
        Action.CHECK_SECRET: "check the secret and its configuration",
        Action.RELAX_SIGNATURES: "if it is widespread, let signatures off for an hour",
        Action.ROTATE_SECRET: "rotate the secret with the provider",
        Action.OPEN_INCIDENT: "open an incident",
    },
    "tr": {
        Action.HOLD: "kiracıyı bekletin",
        Action.FREEZE_FLEET: "tüm kiracıları dondurun",
        Action.ROLLBACK: "kiracıyı eski bakiyeye döndürün",
        Action.SHOW: "bu oyunculara bakın",
        Action.BACKFILL_DRY_RUN: "backfill'i dry-run ile koşun",
        Action.CENSUS: "sayımı (verify) koşun",
        Action.LIST_WALLETS: "cüzdanları listeleyin",
        Action.FORCED_BACKFILL_DRY_RUN: "zorlamalı backfill'i önce dry-run ile koşun",
        Action.FORCED_BACKFILL: "sonra gerçekten koşun",
        Action.REVIEW_RULES: "iş kurallarını gözden geçirin",
        Action.CHECK_SECRET: "secret'ı ve ayarını kontrol edin",
        Action.RELAX_SIGNATURES: "yaygınsa imza zorunluluğunu bir saatliğine kapatın",
        Action.ROTATE_SECRET: "PSP ile secret değiştirin",
        Action.OPEN_INCIDENT: "olay kaydı açın",
    },
}

_FLAGS: Final[Mapping[Language, Mapping[Flag, str]]] = {
    "en": {
        Flag.TRAFFIC_DROP: "nothing has arrived for {silent} minutes although traffic is expected",
        Flag.BLIND: "a process has not reported, so what is missing proves nothing",
        Flag.REVISED: "part of it was reported late, so nothing is done by itself",
        Flag.CLOCK_SKEW: "a process's clock is off",
        Flag.GLOBAL_CAUSE: "most tenants show it, also those that are not enforced, so the cause is elsewhere",
    },
    "tr": {
        Flag.TRAFFIC_DROP: "trafik beklendiği hâlde {silent} dakikadır hiçbir şey gelmedi",
        Flag.BLIND: "bir süreç veri göndermedi, eksik olan bir şey kanıtlamaz",
        Flag.REVISED: "bir kısmı geç bildirildi, kendiliğinden bir şey yapılmaz",
        Flag.CLOCK_SKEW: "bir sürecin saati sapmış",
        Flag.GLOBAL_CAUSE: "enforce edilmeyenler dahil çoğu kiracıda görülüyor, neden başka yerde",
    },
}

_SUBJECTS: Final[Mapping[Language, Mapping[Trigger, str]]] = {
    "en": {Trigger.T1: "players", Trigger.T2: "payments", Trigger.T3: "wallets"},
    "tr": {Trigger.T1: "oyuncu", Trigger.T2: "ödeme", Trigger.T3: "cüzdan"},
}

_WORDS: Final[Mapping[Language, Mapping[str, str]]] = {
    "en": {
        "hour": "in the last hour",
        "day": "in the last day",
        "nothing": "nothing was counted in the last hour, which is neither good nor bad",
        "silence": "nothing was counted in the last hour",
        "since": "since {since} UTC",
        "who": "{players} different {subjects} in a day, above all {names}",
        "one": "all by one of the {subjects}, {names}",
        "do": "to do",
        "broken": "the ledger contradicts itself",
    },
    "tr": {
        "hour": "son bir saatte",
        "day": "son bir günde",
        "nothing": "son bir saatte hiçbir şey sayılmadı; bu ne iyi ne kötüdür",
        "silence": "son bir saatte hiçbir şey sayılmadı",
        "since": "{since} UTC'den beri",
        "who": "bir günde {players} farklı {subjects}, en çok {names}",
        "one": "hepsi tek {subjects}: {names}",
        "do": "yapılacak",
        "broken": "ledger kendisiyle çelişiyor",
    },
}


def explain(
    assessment: Assessment,
    language: Language,
    *,
    subject: str,
    recommendation: Recommendation | None = None,
    is_broken: bool = False,
) -> str:
    """One sentence about an assessment.

    subject: how people call the tenant or provider. recommendation: what follows (recommend), told when given.
    is_broken: whether a census found what no traffic explains (Surroundings.broken).
    """
    words = _WORDS[language]
    parts = [_what_happened(assessment, language)]
    if is_broken:
        parts.append(words["broken"])
    if assessment.top:
        names = ", ".join(each.subject for each in assessment.top)
        subjects = _SUBJECTS[language][assessment.trigger]
        key = "one" if assessment.distinct_players_day == 1 else "who"
        parts.append(words[key].format(players=assessment.distinct_players_day, names=names, subjects=subjects))
    parts.extend(
        _FLAGS[language][flag].format(silent=assessment.silent_minutes) for flag in Flag if flag in assessment.flags
    )
    verdict = _VERDICTS[language][assessment.verdict]
    if assessment.verdict.severity:
        since = f"{assessment.since.astimezone(UTC):%Y-%m-%d %H:%M}"
        verdict = f"{verdict} {words['since'].format(since=since)}"
    if recommendation is not None:
        parts.extend(_DONE[language][step.action] for step in recommendation.automatic)
        todo = ", ".join(_TODO[language][step.action] for step in recommendation.recommended)
        if todo:
            parts.append(f"{words['do']}: {todo}")
    return f"{subject} {assessment.trigger} {verdict}: {'; '.join(parts)}."


def _what_happened(assessment: Assessment, language: Language) -> str:
    words = _WORDS[language]
    n, x, span = assessment.n_60, assessment.x_60, words["hour"]
    if not n and not assessment.verdict.severity:
        return words["nothing"]
    if not n and not assessment.x_day:
        # The verdict is remembered, and silence does not end it.
        return words["silence"]
    if not x and assessment.x_day:
        # What is remembered, or one event of the day, is told in the day's numbers.
        n, x, span = assessment.n_day, assessment.x_day, words["day"]
    wordings = _HAPPENED[language]
    wording = wordings.get((assessment.stream, assessment.is_enforced)) or wordings[assessment.stream, True]
    happened = wording.format(
        x=x,
        n=n,
        rate=_percent(x / max(n, 1), language),
        usual=_percent(assessment.usual_rate, language),
    )
    return f"{span} {happened}"


def _percent(rate: float, language: Language) -> str:
    """A rate with two digits that count: 2.2 % and 0.034 % in English, %2,2 and %0,034 in Turkish."""
    percent = rate * 100
    text = f"{percent:.0f}" if percent >= 10 or percent == 0 else f"{percent:.2g}"
    return f"{text} %" if language == "en" else f"%{text.replace('.', ',')}"
