"""Stored customers that fuzzers begin with, and pieces of their encoding to put into others."""

from __future__ import annotations

from typing import Final

from namesake import v1

PIECES: Final = (
    b"\x80\x01", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x08\x00", b"\x18\x02", b"\x00",
    b"\x92\x01", b"\x9a\x01", b"\xa2\x01", b"\xaa\x01", b"\x0d\0\0\0\0", b"\x09" + bytes(8),
)  # fmt: skip


def card() -> v1.Customer:
    """Return a customer with something in most fields: one that an import takes as ordinary."""
    card = v1.Customer(
        id="c-1", kind=v1.CUSTOMER_KIND_PERSON, state=v1.CUSTOMER_STATE_ACTIVE, first_name="Ada",
        middle_name="B", last_name="Lovelace", gender=v1.GENDER_FEMALE, company_name="ACME",
        birth_date=v1.Date(year=1815, month=12, day=10), tags=["a", "b"], groups=["g"],
    )  # fmt: skip
    card.emails.add(value="ada@x.org", normal="ada@x.org", primary=True)
    card.phones.add(value="020", normal="+442079460018", kind=v1.CONTACT_KIND_MOBILE)
    card.addresses.add(lines=["12 High St", "Flat 2"], city="London", postcode="SW1A 1AA")
    card.addresses.add(primary=True, lines=["1 Low St"], country="GB")
    card.contacts.add(last_name="King").emails.add(value="k@x.org", normal="k@x.org")
    card.identities.add(type="crm", value="1")
    card.preferences.channels.add(channel=v1.CHANNEL_EMAIL, consent=v1.CONSENT_GRANTED)
    return card


def stored() -> v1.Customer:
    """Return one as it is stored, with findings, times and custom fields of all types."""
    record = card()
    record.emails[0].finding.verdict = v1.VERDICT_VALID
    record.phones[0].finding.verdict = v1.VERDICT_INVALID
    record.preferences.do_not_call = True
    record.sources.append("fair")
    record.campaigns.append("spring")
    record.identities.add(type="card", value="2")
    record.create_time.FromMicroseconds(1_700_000_000_000_001)
    record.update_time.FromMicroseconds(1_700_000_000_120_000)
    fields = record.custom_fields
    fields["t"].text, fields["i"].integer, fields["n"].number, fields["f"].flag = "x", -1, 0.5, True
    fields["d"].date.CopyFrom(record.birth_date)
    fields["at"].time.CopyFrom(record.update_time)
    fields["l"].texts.values.extend(["a", "b"])
    return record


def alone(whole: v1.Customer) -> list[bytes]:
    """Encode each field of a customer as the only one of another, once with nothing in it."""
    made = []
    for field, value in whole.ListFields():
        one = v1.Customer()
        if field.is_repeated or field.message_type:
            made.append(_empty(field.number))
            getattr(one, field.name).MergeFrom(value)
        else:
            setattr(one, field.name, value)
        made.append(one.SerializeToString())
    return made


def _empty(number: int) -> bytes:
    tag = number << 3 | 2
    return bytes([tag, 0] if tag < 0x80 else [tag & 0x7F | 0x80, tag >> 7, 0])
