"""What each type of finding means, how much it matters, and what to do about it; in Turkish and English. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from backend.app.domain.finding import FindingType, Severity

_ROOT: Final = "$API/payments/reconciliation"
_POST: Final = 'curl -X POST -H "Authorization: Bearer $TOKEN" '
REPLAY: Final = f'{_POST}"{_ROOT}/findings/{{id}}/replay"'
ADJUST: Final = (
    f'{_POST}-H \'Content-Type: application/json\' -d \'{{{{"close_payment": true, "reason": "…"}}}}\' '
    f'"{_ROOT}/findings/{{id}}/adjustment"'
)
RESOLVE: Final = (
    f'{_POST}-H \'Content-Type: application/json\' -d \'{{{{"resolution_code": "…", "note": "…"}}}}\' '
    f'"{_ROOT}/findings/{{id}}/resolve"'
)
FULL_RUN: Final = "hakem reconcile run --provider {provider} --tenant-id {tenant_id} --full"
VERIFY: Final = "hakem verify --tenant-id {tenant_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One type. `command` has {id}, {provider} and {tenant_id} to be filled in; it is ready to be typed then."""

    severity: Severity
    message_en: str
    message_tr: str
    action_en: str
    action_tr: str
    command: str


_T: Final = FindingType
CATALOGUE: Final[Mapping[FindingType, Entry]] = MappingProxyType(
    {
        _T.MISSING_IN_LEDGER: Entry(
            severity=Severity.HIGH,
            message_en="the provider moved money that the ledger does not have",
            message_tr="sağlayıcı para hareket ettirdi, defterde karşılığı yok",
            action_en="Replay it: the provider is asked again and its answer goes the usual way. Never book by hand.",
            action_tr="Yeniden oynatın: sağlayıcıya tekrar sorulur, cevabı olağan yoldan işlenir. Elle kayıt girmeyin.",
            command=REPLAY,
        ),
        _T.MISSING_IN_PSP: Entry(
            severity=Severity.HIGH,
            message_en="the ledger has money moving that the provider does not list",
            message_tr="defterde para hareketi var, sağlayıcının dökümünde yok",
            action_en="Look it up in the provider's portal. If nothing moved there, propose an adjustment.",
            action_tr="Sağlayıcının portalında arayın. Orada hareket yoksa düzeltme önerin.",
            command=FULL_RUN,
        ),
        _T.AMOUNT_MISMATCH: Entry(
            severity=Severity.CRITICAL,
            message_en="provider and ledger have different amounts",
            message_tr="sağlayıcı ile defterde tutarlar farklı",
            action_en="Ask the provider what moved; an open payment is then closed at that amount, by two people.",
            action_tr="Gerçekte ne ödendiğini sağlayıcıya sorun; açık ödeme o tutardan, iki kişiyle kapatılır.",
            command=ADJUST,
        ),
        _T.CURRENCY_MISMATCH: Entry(
            severity=Severity.CRITICAL,
            message_en="provider and ledger have different currencies",
            message_tr="sağlayıcı ile defterde para birimleri farklı",
            action_en="Do not pay again. Ask the provider; close the payment by two people, the house bears the rest.",
            action_tr="Tekrar ödemeyin. Sağlayıcıya sorun; ödemeyi iki kişiyle kapatın, farkı kasa üstlenir.",
            command=ADJUST,
        ),
        _T.STATUS_MISMATCH: Entry(
            severity=Severity.HIGH,
            message_en="provider and ledger do not agree on how a payment ended",
            message_tr="sağlayıcı ile defter ödemenin nasıl bittiğinde anlaşmıyor",
            action_en="Replay it: the provider's word of now decides, unless it contradicts what was final.",
            action_tr="Yeniden oynatın: kesinleşmiş olanla çelişmiyorsa sağlayıcının şimdiki sözü geçer.",
            command=REPLAY,
        ),
        _T.DUPLICATE_IN_PSP: Entry(
            severity=Severity.CRITICAL,
            message_en="the provider moved the money of one payment more than once",
            message_tr="sağlayıcı tek ödemenin parasını birden çok kez hareket ettirdi",
            action_en="Recover one of them with the provider; see whether an idempotency key was used twice.",
            action_tr="Birini sağlayıcıdan geri alın; idempotency anahtarı iki kez mi kullanılmış, bakın.",
            command=RESOLVE,
        ),
        _T.DUPLICATE_IN_LEDGER: Entry(
            severity=Severity.CRITICAL,
            message_en="the ledger booked one movement of the provider more than once",
            message_tr="sağlayıcının tek hareketi deftere birden çok kez işlenmiş",
            action_en="Find out who booked it; propose an adjustment that takes the second one back.",
            action_tr="Kimin işlediğini bulun; ikincisini geri alan bir düzeltme önerin.",
            command=ADJUST,
        ),
        _T.PAID_AFTER_RELEASE: Entry(
            severity=Severity.CRITICAL,
            message_en="the provider paid what had failed and may have been given back",
            message_tr="sağlayıcı, başarısız sayılıp iade edilmiş olabilecek parayı ödedi",
            action_en="Stop further attempts; recover it from the provider or, by an adjustment, from the player.",
            action_tr="Yeni denemeleri durdurun; sağlayıcıdan ya da düzeltmeyle oyuncudan geri alın.",
            command=RESOLVE,
        ),
        _T.RETURNED_AFTER_PAID: Entry(
            severity=Severity.HIGH,
            message_en="the provider gave money back after the payment was final",
            message_tr="ödeme kesinleştikten sonra sağlayıcı parayı geri çevirdi",
            action_en="Replay it, so that the ledger follows; then look at where the money was sent.",
            action_tr="Defterin izlemesi için yeniden oynatın; sonra paranın nereye gönderildiğine bakın.",
            command=REPLAY,
        ),
        _T.STALE_IN_TRANSIT: Entry(
            severity=Severity.HIGH,
            message_en="nobody knows what became of a payout; nothing is released meanwhile",
            message_tr="bir ödemenin akıbeti bilinmiyor; bu sürede hiçbir şey serbest bırakılmaz",
            action_en="Replay it, then ask the provider by telephone.",
            action_tr="Yeniden oynatın, sonra sağlayıcıyı arayın.",
            command=REPLAY,
        ),
        _T.ORPHAN_WEBHOOK: Entry(
            severity=Severity.HIGH,
            message_en="a signed delivery of the provider could not be linked to a payment",
            message_tr="sağlayıcının imzalı bildirimi bir ödemeye bağlanamadı",
            action_en="Read its last error, mend the cause and have it processed again; or resolve it with the reason.",
            action_tr="Son hatasını okuyun, nedeni giderip yeniden işletin; ya da gerekçesiyle kapatın.",
            command=RESOLVE,
        ),
        _T.DUPLICATE_EVENT_BODY_DIFFERS: Entry(
            severity=Severity.HIGH,
            message_en="one event id came with two bodies; the first counts",
            message_tr="tek olay kimliği iki farklı gövdeyle geldi; ilki geçerli",
            action_en="Ask the provider; if it never sent the second, change the secret.",
            action_tr="Sağlayıcıya sorun; ikincisini göndermediyse gizli anahtarı değiştirin.",
            command=RESOLVE,
        ),
        _T.TENANT_MISMATCH: Entry(
            severity=Severity.CRITICAL,
            message_en="an account of this tenant moved money of a payment that is not this tenant's",
            message_tr="bu kiracının hesabı, bu kiracıya ait olmayan bir ödemenin parasını hareket ettirdi",
            action_en="Stop the account and find out who uses it.",
            action_tr="Hesabı durdurun ve kimin kullandığını bulun.",
            command=RESOLVE,
        ),
        _T.BALANCE_DRIFT: Entry(
            severity=Severity.HIGH,
            message_en="a day's sums differ by more than the findings explain",
            message_tr="bir günün toplamları, bulguların açıkladığından fazla farklı",
            action_en="Run in full: every pair is compared again, and what is behind it becomes a finding of its own.",
            action_tr="Tam koşum yapın: her çift yeniden karşılaştırılır, arkasındaki neden ayrı bulgu olur.",
            command=FULL_RUN,
        ),
        _T.LEDGER_INVARIANT: Entry(
            severity=Severity.CRITICAL,
            message_en="the ledger contradicts itself",
            message_tr="defter kendi içinde çelişiyor",
            action_en="Stop and verify; nothing else is worth reconciling before.",
            action_tr="Durun ve doğrulayın; bundan önce başka mutabakatın anlamı yok.",
            command=VERIFY,
        ),
        _T.FEED_ANOMALY: Entry(
            severity=Severity.CRITICAL,
            message_en="the provider's statement cannot be right as a whole, or cannot be had",
            message_tr="sağlayıcının dökümü bir bütün olarak doğru olamaz ya da alınamıyor",
            action_en="See whether the provider's interface works and the account is the right one; then run again.",
            action_tr="Sağlayıcının arayüzü çalışıyor ve hesap doğru mu bakın; sonra yeniden koşun.",
            command=FULL_RUN,
        ),
    }
)
