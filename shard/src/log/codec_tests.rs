//! Every record comes back as it was; nothing else does.

use super::super::SegmentId;
use super::*;
use proptest::prelude::*;

fn at(offset: u64) -> Location {
    Location::new(SegmentId(3), offset).unwrap()
}

fn encoded(record: &Record<'_>, salt: Salt, at: Location) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes, record, salt, at);
    bytes
}

/// Encodes, checks the length, and gives what is read back to `each`.
fn comes_back(record: &Record<'_>) {
    let bytes = encoded(record, Salt(5), at(4_136));
    assert_eq!(bytes.len() as u64, encoded_bytes(record));
    assert!(is_encodable(record));
    let checked = check(&bytes, Salt(5).mark(at(4_136))).unwrap();
    assert_eq!(checked.padded_len(), bytes.len());
    assert_eq!(decode(&checked, &mut Scratch::default()).as_ref(), Some(record));
    assert_eq!(check(&bytes, Salt(5).mark(at(4_144))).err(), Some(Flaw::Bad), "believed in another place");
    assert_eq!(check(&bytes, Salt(6).mark(at(4_136))).err(), Some(Flaw::Bad), "believed in another log");
}

fn ranges() -> impl Strategy<Value = Vec<SeqRange>> {
    let range = (any::<u64>(), any::<u64>()).prop_map(|(a, b)| SeqRange { from: a.min(b), to: a.max(b) });
    prop::collection::vec(range, 0..20)
}

proptest! {
    #[test]
    fn messages_come_back(
        stream: u32,
        seq: u64,
        unix_ms: u64,
        is_json: bool,
        priority in 0u8..4,
        not_before_unix_ms in prop_oneof![Just(0), any::<u64>()],
        expires_unix_ms in prop_oneof![Just(0), any::<u64>()],
        trace in prop::option::of(prop::array::uniform32(any::<u8>())),
        dedup_id in ".{0,40}",
        id in ".{0,40}",
        envelope in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        comes_back(&Record::Message(MessageRecord {
            stream: StreamNumber(stream),
            seq,
            unix_ms,
            encoding: if is_json { Encoding::Json } else { Encoding::MessagePack },
            priority,
            not_before_unix_ms,
            expires_unix_ms,
            trace: trace.map(|bytes| TraceContext::from_bytes(*bytes.first_chunk().unwrap())),
            dedup_id: &dedup_id,
            id: &id,
            envelope: &envelope,
        }));
    }

    #[test]
    fn streams_come_back(
        stream: u32, tenant: u32, name in ".{0,60}", epoch: u64, next_seq: u64,
        settings in prop::collection::vec(any::<u8>(), 0..100),
        gaps in ranges(),
    ) {
        comes_back(&Record::Stream(StreamRecord {
            stream: StreamNumber(stream),
            tenant: TenantId(tenant),
            name: &name,
            epoch,
            next_seq,
            settings: &settings,
            gaps: &gaps,
        }));
    }

    #[test]
    fn groups_come_back(
        group: u32, stream: u32, name in ".{0,60}", cursor: u64,
        settings in prop::collection::vec(any::<u8>(), 0..100),
        outstanding in prop::collection::vec((any::<u64>(), any::<u32>()), 0..20),
        done in ranges(),
    ) {
        let outstanding: Vec<_> = outstanding.iter().map(|&(seq, attempts)| Outstanding { seq, attempts }).collect();
        comes_back(&Record::Group(GroupRecord {
            group: GroupNumber(group),
            stream: StreamNumber(stream),
            name: &name,
            cursor,
            settings: &settings,
            outstanding: &outstanding,
            done: &done,
        }));
    }

    #[test]
    fn the_others_come_back(number: u32, ranges in ranges()) {
        let (stream, group) = (StreamNumber(number), GroupNumber(number));
        comes_back(&Record::Acked { group, ranges: &ranges });
        comes_back(&Record::Released { stream, ranges: &ranges });
        comes_back(&Record::GroupDeleted { group });
        comes_back(&Record::StreamDeleted { stream });
        comes_back(&Record::CarriedOver);
    }

    /// Also with a right CRC: what a later version or a bug might write is refused, and never a panic.
    #[test]
    fn any_bytes_are_a_record_or_refused(
        mut bytes in prop::collection::vec(any::<u8>(), 16..200),
        kind in 0u8..10,
        len in 0u32..200,
    ) {
        let mark = Salt(5).mark(at(4_136));
        let _ = check(&bytes, mark);
        bytes[8] = kind;
        bytes[4..8].copy_from_slice(&len.to_le_bytes());
        bytes[10..12].copy_from_slice(&(mark as u16).to_le_bytes());
        let padded = (len as usize).next_multiple_of(8);
        if let Some(record) = bytes.get(..padded.max(8)) {
            let crc = crc_of(record, len, mark);
            bytes[0..4].copy_from_slice(&crc.to_le_bytes());
        }
        match check(&bytes, mark) {
            Ok(checked) => {
                let mut scratch = Scratch::default();
                if let Some(record) = decode(&checked, &mut scratch) {
                    prop_assert!(encoded_bytes(&record) <= padded as u64);
                }
            }
            Err(Flaw::Short(needed)) => prop_assert_eq!(needed, padded),
            Err(flaw) => prop_assert!(flaw == Flaw::Bad && len < 16),
        }
    }
}

fn message(envelope: &[u8]) -> Record<'_> {
    Record::Message(MessageRecord {
        stream: StreamNumber(1),
        seq: 9,
        unix_ms: 1_700_000_000_000,
        encoding: Encoding::Json,
        priority: 0,
        not_before_unix_ms: 0,
        expires_unix_ms: 0,
        trace: None,
        dedup_id: "",
        id: "m-9",
        envelope,
    })
}

#[test]
fn every_single_flipped_bit_is_detected() {
    let mark = Salt(5).mark(at(4_136));
    for envelope_len in 0..40 {
        let bytes = encoded(&message(&vec![b'x'; envelope_len]), Salt(5), at(4_136));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&flipped, mark).is_err(), "bit {bit} of {}", bytes.len());
        }
    }
}

#[test]
fn a_cut_record_says_how_much_it_needs() {
    let bytes = encoded(&message(b"0123456789"), Salt(5), at(4_136));
    let mark = Salt(5).mark(at(4_136));
    for len in 0..bytes.len() {
        let needed = if len < RECORD_HEADER { RECORD_HEADER } else { bytes.len() };
        assert_eq!(check(&bytes[..len], mark).err(), Some(Flaw::Short(needed)));
    }
    assert!(check(&bytes, mark).is_ok());
}

#[test]
fn zeros_are_blank() {
    assert_eq!(check(&[0; 64], Salt(5).mark(at(4_136))).err(), Some(Flaw::Blank));
}

#[test]
fn texts_that_their_fields_cannot_count_are_not_encodable() {
    let long = "x".repeat(65_536);
    let message = |id, dedup_id| MessageRecord {
        stream: StreamNumber(1),
        seq: 1,
        unix_ms: 0,
        encoding: Encoding::Json,
        priority: 0,
        not_before_unix_ms: 0,
        expires_unix_ms: 0,
        trace: None,
        dedup_id,
        id,
        envelope: b"",
    };
    comes_back(&Record::Message(message(&long[1..], &long[1..])));
    assert!(!is_encodable(&Record::Message(message(&long, ""))));
    assert!(!is_encodable(&Record::Message(message("", &long))));
}
