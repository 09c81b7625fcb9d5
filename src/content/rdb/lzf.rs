//! LZF, by which strings in a file are compressed.

/// Three bytes stand for 264.
const BYTES_EACH_MAX: usize = 88;

/// The beginning of what was compressed by LZF, of which only the beginning may be there.
pub(super) fn front_of(compressed: &[u8], bytes_max: usize) -> Vec<u8> {
    // What it says that it comes to may be a lie; no byte stands for more than these.
    let mut plain: Vec<u8> =
        Vec::with_capacity(bytes_max.min(compressed.len().saturating_mul(BYTES_EACH_MAX)));
    let mut rest = compressed.iter().copied();
    while plain.len() < bytes_max {
        let Some(control) = rest.next() else { break };
        if control < 32 {
            plain.extend(rest.by_ref().take(usize::from(control) + 1));
            continue;
        }
        let mut length = usize::from(control >> 5);
        if length == 7 {
            let Some(more) = rest.next() else { break };
            length += usize::from(more);
        }
        let Some(low) = rest.next() else { break };
        let back = (usize::from(control & 0x1f) << 8 | usize::from(low)) + 1;
        for _ in 0..length + 2 {
            let Some(byte) = plain.len().checked_sub(back).and_then(|at| plain.get(at)).copied() else {
                return plain;
            };
            plain.push(byte);
        }
    }
    plain.truncate(bytes_max);
    plain
}
