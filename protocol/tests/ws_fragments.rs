//! However a message is cut into frames, with whatever control frames between them, it is the same command.

mod ws_wire;

use conduit_protocol::Encoding;
use conduit_protocol::ws::Role;
use proptest::prelude::*;
use ws_wire::{BINARY, CONTINUATION, End, PING, PONG, Server, TEXT, masked_frame};

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_fragmentation_gives_the_same_command(
        string in "\\PC{0,3000}",
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<[u8; 4]>(), 0..4_u8), 0..20),
        read_bytes in 1..10_000_usize,
        is_text in any::<bool>(),
    ) {
        let string = serde_json::to_string(&string).expect("strings encode");
        let message = format!(r#"{{"enqueue":{{"to":"stream","envelope":{{"id":"m","x":{string}}}}},"ref":[1]}}"#);
        let message = message.as_bytes();

        let mut cuts: Vec<_> = cuts.iter().map(|(cut, mask, between)| (cut.index(message.len()), mask, between)).collect();
        cuts.sort_unstable();
        let mut opcode = if is_text { TEXT } else { BINARY };
        let (mut bytes, mut start, mut pings) = (Vec::new(), 0, 0);
        for (cut, mask, between) in cuts {
            bytes.extend(masked_frame(false, opcode, *mask, &message[start..cut]));
            (opcode, start) = (CONTINUATION, cut);
            match between {
                1 => {
                    bytes.extend(masked_frame(true, PING, *mask, b"between"));
                    pings += 1;
                }
                2 => bytes.extend(masked_frame(true, PONG, *mask, b"between")),
                _ => {}
            }
        }
        bytes.extend(masked_frame(true, opcode, [9, 8, 7, 6], &message[start..]));

        let mut whole = Server::new(Role::Publisher, Encoding::Json);
        whole.receive(&masked_frame(true, TEXT, [0; 4], message));
        let mut fragmented = Server::new(Role::Publisher, Encoding::Json);
        for read in bytes.chunks(read_bytes) {
            prop_assert_eq!(fragmented.receive(read), End::NeedBytes);
        }
        prop_assert_eq!(whole.commands.len(), 1);
        prop_assert_eq!(&fragmented.commands, &whole.commands);
        prop_assert_eq!(fragmented.said().len(), pings);
        prop_assert_eq!(fragmented.rest_bytes(), 0);
    }
}
