use super::*;
use proptest::prelude::*;

fn encoded(request: Request<'_>) -> Vec<u8> {
    let mut out = vec![9];
    encode(7, &request, &mut out);
    let length = u32::from_be_bytes(out[1..5].try_into().unwrap()) as usize;
    assert_eq!((out[0], out.len()), (9, 5 + length), "{request:?}");
    out.split_off(5)
}

#[test]
fn given_requests_then_they_are_the_bytes_of_the_draft() {
    let open = encoded(Request::Create("ab"));
    assert_eq!(open, [3, 0, 0, 0, 7, 0, 0, 0, 2, b'a', b'b', 0, 0, 0, 0x2a, 0, 0, 0, 4, 0, 0, 1, 0o200]);
    assert_eq!(
        encoded(Request::Get(b"h", 1, 2)),
        [5, 0, 0, 0, 7, 0, 0, 0, 1, b'h', 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]
    );
    assert_eq!(
        encoded(Request::Put(b"h", 1, b"x")),
        [6, 0, 0, 0, 7, 0, 0, 0, 1, b'h', 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, b'x']
    );
    assert_eq!(encoded(Request::Rename("a", "b")), [18, 0, 0, 0, 7, 0, 0, 0, 1, b'a', 0, 0, 0, 1, b'b']);
    let link = encoded(Request::Link("a", "b"));
    assert_eq!((link[0], &link[9..29]), (200, HARDLINK.as_bytes()));
    for request in [
        Request::Read("a"),
        Request::Close(b"h"),
        Request::Look("a"),
        Request::Folder("a"),
        Request::Names(b"h"),
        Request::Remove("a"),
        Request::Make("a"),
        Request::Sync(b"h"),
        Request::Limits,
        Request::Room("/"),
    ] {
        assert_eq!(encoded(request)[1..5], [0, 0, 0, 7]);
    }
    assert_eq!(hello(), [0, 0, 0, 5, 1, 0, 0, 0, 3]);
}

#[test]
fn given_answers_then_they_are_understood() {
    let status = |code: u8| decode(&[101, 0, 0, 0, 1, 0, 0, 0, code, 0, 0, 0, 1, b'x', 0, 0, 0, 0]).unwrap();
    assert_eq!(status(2), (1, Answer::Status(Status::Missing, "x".to_owned())));
    assert_eq!(status(200), (1, Answer::Status(Status::Other(200), "x".to_owned())));
    // Without words, as some servers send it.
    let short = decode(&[101, 0, 0, 0, 1, 0, 0, 0, 0]).unwrap();
    assert_eq!(short, (1, Answer::Status(Status::Good, String::new())));
    let attributes =
        [105, 0, 0, 0, 1, 0, 0, 0, 0xd, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0x81, 0x80, 0, 0, 0, 1, 0, 0, 0, 2];
    let (_, Answer::Attributes(found)) = decode(&attributes).unwrap() else { panic!() };
    assert_eq!((found.size, found.kind(), found.modified_s), (Some(5), Kind::File, Some(2)));
    let (version, extensions) = welcome(&[2, 0, 0, 0, 3, 0, 0, 0, 1, b'a', 0, 0, 0, 1, b'1']).unwrap();
    assert_eq!((version, extensions), (3, vec!["a".to_owned()]));
}

#[test]
fn given_lengths_and_counts_that_lie_then_they_are_refused_without_memory() {
    assert!(decode(&[103, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 1]).is_err());
    assert!(decode(&[104, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]).is_err());
    assert!(decode(&[105, 0, 0, 0, 1, 0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).is_err());
    assert!(
        decode(&[102, 0, 0, 0, 1, 0, 0, 1, 1].iter().copied().chain([0; 257]).collect::<Vec<u8>>()).is_err()
    );
    assert!(decode(&[77, 0, 0, 0, 1]).is_err());
    assert!(welcome(b"Hello, I am a shell").is_err());
}

proptest! {
    /// Nothing that a server sends makes a panic, or more memory than it sent.
    #[test]
    fn any_bytes_are_dealt_with(kind in prop::sample::select(vec![2u8, 101, 102, 103, 104, 105, 201]), rest in prop::collection::vec(any::<u8>(), 0..200)) {
        let packet = [&[kind][..], &rest].concat();
        if let Ok((_, Answer::Data(bytes))) = decode(&packet) {
            prop_assert!(bytes.len() < packet.len());
        }
        if let Ok((_, Answer::Names(names))) = decode(&packet) {
            prop_assert!(names.len() * 12 < packet.len());
        }
        let _ = (welcome(&packet), limits(&rest), room(&rest));
    }

    /// What was encoded is what a server takes apart again.
    #[test]
    fn names_go_there_and_back(names in prop::collection::vec(("[a-z0-9]{1,20}", any::<u64>(), any::<u32>()), 0..20)) {
        let mut packet = vec![104, 0, 0, 0, 9];
        packet.extend_from_slice(&(names.len() as u32).to_be_bytes());
        for (name, size, modified) in &names {
            text(&mut packet, name.as_bytes());
            text(&mut packet, b"-rw------- 1 a b");
            packet.extend_from_slice(&9u32.to_be_bytes());
            packet.extend_from_slice(&size.to_be_bytes());
            packet.extend_from_slice(&[0; 4]);
            packet.extend_from_slice(&modified.to_be_bytes());
        }
        let Ok((9, Answer::Names(found))) = decode(&packet) else { panic!("not names") };
        let found: Vec<_> = found.into_iter().map(|(name, of)| (String::from_utf8(name).unwrap(), of.size.unwrap(), of.modified_s.unwrap())).collect();
        prop_assert_eq!(found, names);
        // Whatever is cut off, it is noticed.
        for cut in 0..packet.len() {
            prop_assert!(decode(&packet[..cut]).is_err());
        }
    }
}
