"""What a judged gate means and what to do about it, in both languages: one catalogue, filled with its numbers."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from backend.app.domain import figures
from backend.app.domain.rollout.gates import GateResult, Language


class GateText(NamedTuple):
    """The sentences of one case. `command` is ready to be typed; empty where there is none.

    A gap is filled as the language writes numbers and times; `{n:is|are}` is filled with the word that fits n.
    """

    turkish: str
    english: str
    turkish_remedy: str = ""
    english_remedy: str = ""
    command: str = ""


_VERIFY: Final = "hakem verify --tenant-id {tenant_id}"
_BACKFILL: Final = "hakem backfill --tenant-id {tenant_id}"

TEXTS: Final[Mapping[tuple[str, str], GateText]] = {
    ("schema", "met"): GateText("Şema güncel ({revision}).", "The schema is current ({revision})."),
    ("schema", "behind"): GateText(
        "Şema {revision} sürümünde; bu sürüm {expected_revision} istiyor.",
        "The schema is at {revision}; this release needs {expected_revision}.",
        "Migration'ları çalıştırın.",
        "Run the migrations.",
        "hakem db migrate",
    ),
    ("schema", "keys_missing"): GateText(
        "Eksik ya da geçersiz benzersiz anahtarlar: {keys}.",
        "Unique keys are missing or not valid: {keys}.",
        "Anahtarları geri getirin; tekrar eden kayıt varsa önce onu araştırın.",
        "Bring the keys back; if there are duplicates, look into those first.",
    ),
    ("writers", "met"): GateText(
        "Çalışan süreçlerin hepsi ({writers}) iki tarafı yazıyor.",
        "{writers:The running process writes|All running processes write} both sides ({writers}).",
    ),
    ("writers", "shadow_off"): GateText(
        "Gölge yazım kapalı: ledger yazılmıyor.",
        "Shadow writing is off: the ledger is not written.",
        "ledger_shadow_write bayrağını açın.",
        "Switch ledger_shadow_write on.",
        "hakem flags set ledger_shadow_write true --reason …",
    ),
    ("writers", "old"): GateText(
        "{old_writers} süreç başka bir sürümle çalışıyor, ilki {first}.",
        "{old_writers} {old_writers:process runs|processes run} another release, the first is {first}.",
        "Başka sürümle çalışanları bu sürümle yeniden başlatın.",
        "Restart what runs another release with this one.",
    ),
    ("coverage", "met"): GateText(
        "Bütün oyuncuların ({players}) cüzdanı açılmış.",
        "{players:The wallet of the only player is|The wallets of all players are} opened ({players}).",
    ),
    ("coverage", "unknown"): GateText(
        "Kaç cüzdanın açıldığı henüz sayılmadı.",
        "Nobody has counted yet how many wallets are opened.",
        "Sayım yapın.",
        "Take a census.",
        _VERIFY,
    ),
    ("coverage", "backfilling"): GateText(
        "Bu tenant için bir backfill çalışıyor.",
        "A backfill of the tenant is running.",
        "Bitmesini bekleyin.",
        "Wait for its end.",
    ),
    ("coverage", "unopened"): GateText(
        "{players} oyuncudan {unopened} tanesinin cüzdanı açılmamış, ilki {first_player}.",
        "Of {players} {players:player|players}, {unopened} {unopened:has|have} no opened wallet, "
        "the first is {first_player}.",
        "Backfill çalıştırın (önce --dry-run).",
        "Run the backfill (with --dry-run first).",
        _BACKFILL,
    ),
    ("census", "met"): GateText(
        "Sayım temiz: {players} oyuncu, {age_hours} saat önce.",
        "The census is clean: {players} {players:player|players}, {age_hours} h ago.",
    ),
    ("census", "never"): GateText(
        "Hiç sayım yapılmamış.", "There was no census yet.", "Sayım yapın.", "Take one.", _VERIFY
    ),
    ("census", "old"): GateText(
        "Son temiz sayım {age_hours} saat önce; en fazla {age_hours_max} saat olabilir.",
        "The last clean census is {age_hours} h old; at most {age_hours_max} h count.",
        "Yeniden sayım yapın.",
        "Take another one.",
        _VERIFY,
    ),
    ("census", "differences"): GateText(
        "Son sayım {differences} fark buldu ({class}), ilki {first_player}.",
        "The last census found {differences} {differences:difference|differences} ({class}), "
        "the first at {first_player}.",
        "Nedenini bulun, düzeltin ve yeniden sayın.",
        "Find the cause, mend it and take another census.",
        _VERIFY,
    ),
    ("census", "differing"): GateText(
        "{differing} cüzdanda iki taraf farklı, ilki {first_player}.",
        "In {differing} {differing:wallet|wallets} the sides differ, the first is {first_player}.",
        "Legacy kolonu kimin yazdığını bulun; sonra --force ile düzeltin (önce --dry-run).",
        "Find out who writes the legacy column; then mend with --force (with --dry-run first).",
        _BACKFILL + " --force --dry-run",
    ),
    ("findings", "met"): GateText("Açık kritik bulgu yok.", "No critical finding is open."),
    ("findings", "open"): GateText(
        "{findings} kritik bulgu açık, ilki {first}.",
        "{findings} critical {findings:finding is|findings are} open, the first is {first}.",
        "Bulguları inceleyip çözün.",
        "Look into them and resolve them.",
    ),
    ("holds", "met"): GateText("Enforce'u durduran bir şey yok.", "Nothing holds the tenant back."),
    ("holds", "killed"): GateText(
        "Çalışan bir sürecin ortamında LEDGER_ENFORCE_BALANCE=False var: acil durdurma açık.",
        "The environment of a running process says LEDGER_ENFORCE_BALANCE=False: the kill switch is on.",
        "Değişkeni kaldırıp süreçleri yeniden başlatın.",
        "Remove the variable and restart the processes.",
    ),
    ("holds", "held"): GateText(
        "Durdurulmuş ({kind}): {reason}",
        "Held ({kind}): {reason}",
        "Neden ortadan kalktıysa kaldırın.",
        "Lift it when its cause is gone.",
        "hakem rollout lift {hold_target} --reason …",
    ),
    ("holds", "until"): GateText(
        "{ends_at} anına kadar durdurulmuş ({kind}): {reason}",
        "Held until {ends_at} ({kind}): {reason}",
        "Bekleyin ya da neden ortadan kalktıysa kaldırın.",
        "Wait, or lift it when its cause is gone.",
        "hakem rollout lift {hold_target} --reason …",
    ),
    ("evidence", "met"): GateText(
        "{decisions} kararda {disputed} anlaşmazlık; üst sınır %{bound_percent}.",
        "{disputed} of {decisions} {decisions:decision|decisions} {disputed:was|were} disputed; "
        "at most {bound_percent} % are.",
    ),
    ("evidence", "tiny"): GateText(
        "Yalnızca {players} oyuncu var: sayım tek başına yeterli.",
        "With only {players} {players:player|players} the census alone decides.",
    ),
    ("evidence", "too_few"): GateText(
        "{decisions} karar yetmiyor: üst sınır %{bound_percent}, en fazla %{bound_percent_max} olmalı.",
        "{decisions} {decisions:decision is|decisions are} too few: up to {bound_percent} % could be disputed, "
        "{bound_percent_max} % may be.",
        "Gölge modda daha çok trafik bekleyin.",
        "Wait for more traffic in shadow mode.",
    ),
    ("evidence", "disputed"): GateText(
        "{decisions} kararda {disputed} anlaşmazlık ({disputed_players} oyuncu); üst sınır %{bound_percent}, en fazla "
        "%{bound_percent_max} olmalı.",
        "{disputed} of {decisions} {decisions:decision|decisions} {disputed:was|were} disputed ({disputed_players} "
        "{disputed_players:player|players}); up to {bound_percent} % could be, {bound_percent_max} % may be.",
        "Hangi oyuncular olduğuna bakın ve farkları giderin.",
        "See which players they are and mend what differs.",
        _BACKFILL + " --dry-run",
    ),
    ("evidence", "overpaid"): GateText(
        "{overpaid} kez hakem, ledger'ın reddedeceği parayı ödedi.",
        "{overpaid} {overpaid:time|times} the arbiter paid what the ledger would have refused.",
        "Farkları giderin; yeni kanıt toplanana kadar bekleyin.",
        "Mend what differs, and wait for new evidence.",
        _BACKFILL + " --dry-run",
    ),
    ("quiet", "met"): GateText("Son {hours} saatte uyarı yok.", "Nothing was noticed in the last {hours} h."),
    ("quiet", "unseen"): GateText(
        "İzleme bu tenant hakkında henüz hüküm vermedi.",
        "The monitor has not judged this tenant yet.",
        "İzlemeyi bir kez çalıştırın.",
        "Run the monitor once.",
        "hakem rollout evaluate",
    ),
    ("quiet", "loud"): GateText(
        "Son {hours} saatte en kötü hüküm: {verdict}.",
        "The worst verdict of the last {hours} h is {verdict}.",
        "Nedenini giderin ve sakin geçen {hours} saati bekleyin.",
        "Remove the cause and wait for {hours} quiet hours.",
        "hakem rollout status {tenant_id}",
    ),
    ("rehearsal", "met"): GateText(
        "Geri dönüş denendi: {rehearsed_at}.", "The way back was rehearsed: {rehearsed_at}."
    ),
    ("rehearsal", "never"): GateText(
        "Geri dönüş bu tenant'ta hiç denenmedi.",
        "The way back was never tried with this tenant.",
        "Prova yapın; kimse etkilenmez.",
        "Rehearse it; nobody is affected.",
        "hakem rollout rehearse {tenant_id} --reason …",
    ),
    ("rehearsal", "old"): GateText(
        "Son prova {rehearsed_at}; en fazla {days_max} gün önce olmalı.",
        "The last rehearsal was {rehearsed_at}; it may be {days_max} days old.",
        "Yeniden prova yapın; kimse etkilenmez.",
        "Rehearse again; nobody is affected.",
        "hakem rollout rehearse {tenant_id} --reason …",
    ),
}


# What is told in a word of the language where the number is a code; a code without a word is told as it is.
_WORDS: Final[Mapping[Language, Mapping[tuple[str, str], str]]] = {
    Language.ENGLISH: {},
    Language.TURKISH: {
        ("kind", "hold"): "bekletme",
        ("kind", "cooldown"): "soğuma",
        ("kind", "freeze"): "dondurma",
        ("kind", "pin"): "sabitleme",
        ("verdict", "light"): "hafif",
        ("verdict", "high"): "yüksek",
        ("verdict", "sustained"): "sürekli",
        ("verdict", "critical"): "kritik",
    },
}
_TIMES: Final = frozenset({"ends_at", "rehearsed_at"})


class _Figure:
    """A number in a gap: as its language writes it, or the one of two words that fits it."""

    def __init__(self, value: int | float, language: Language) -> None:
        self._value = value
        self._language = language

    def __format__(self, words: str) -> str:
        if not words:
            return figures.number(self._value, language=self._language)
        one, other = words.split("|")
        return one if self._value == 1 else other


def explain(result: GateResult, *, language: Language) -> str:
    """One sentence on what was found."""
    text = TEXTS[result.gate, result.case]
    return _filled(text.turkish if language is Language.TURKISH else text.english, result, language=language)


def remedy(result: GateResult, *, language: Language) -> str:
    """One sentence on what to do; empty when there is nothing to be done."""
    text = TEXTS[result.gate, result.case]
    return _filled(
        text.turkish_remedy if language is Language.TURKISH else text.english_remedy, result, language=language
    )


def command(result: GateResult, *, tenant_id: object) -> str:
    """What to type; empty when no command helps."""
    return _filled(TEXTS[result.gate, result.case].command, result, language=Language.ENGLISH, tenant_id=tenant_id)


def gate_document(result: GateResult, *, tenant_id: object) -> dict[str, Any]:
    """A gate as it is stored and shown: numbers, verdict, and both languages."""
    return {
        "gate": result.gate.value,
        "is_hard": result.gate.is_hard,
        "is_met": result.is_met,
        "is_waived": result.is_waived,
        "case": result.case,
        "numbers": dict(result.numbers),
        "text": {each.value: explain(result, language=each) for each in Language},
        "remedy": {each.value: remedy(result, language=each) for each in Language},
        "command": command(result, tenant_id=tenant_id),
    }


def _filled(template: str, result: GateResult, *, language: Language, tenant_id: object = "") -> str:
    players = result.numbers.get("player_ids") or ["?"]
    is_fleet = result.numbers.get("whole_fleet", False)
    return template.format_map(
        {
            **{name: _gap(name, value, language=language) for name, value in result.numbers.items()},
            "tenant_id": tenant_id,
            "first_player": players[0],
            "reason": result.numbers.get("reasons", {}).get(language.value, result.numbers.get("reason", "")),
            "hold_target": "--fleet" if is_fleet else tenant_id,
        }
    )


def _gap(name: str, value: Any, *, language: Language) -> Any:
    """What stands in a gap. Times are kept as ISO 8601 and told to the minute."""
    if name in _TIMES and value is not None:
        return f"{figures.minute(datetime.fromisoformat(value), language=language)} UTC"
    if isinstance(value, int | float):
        return _Figure(value, language)
    return _WORDS[language].get((name, value), value) if isinstance(value, str) else value
