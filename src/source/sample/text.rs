//! Fast, deterministic text: a buffer, dice, a calendar, and the words that rows are made of.
//!
//! Integers only, so that every machine writes the same bytes.

use jiff::civil::Date;

/// Where a refill stops: the buffer is handed out once it holds this many bytes.
pub(super) const REFILL_BYTES: usize = 256 << 10;
/// Room behind [`REFILL_BYTES`] for the row that crosses it. The longest row (a document) stays under 8 KiB.
const SLACK_BYTES: usize = 32 << 10;

/// Microseconds in a day.
pub(super) const DAY_US: u64 = 86_400_000_000;

const DIGIT_PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut n = 0;
    while n < 100 {
        pairs[n] = [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        n += 1;
    }
    pairs
};

const HEX_PAIRS: [[u8; 2]; 256] = {
    let digits = *b"0123456789abcdef";
    let mut pairs = [[b'0'; 2]; 256];
    let mut n = 0;
    while n < 256 {
        pairs[n] = [digits[n >> 4], digits[n & 15]];
        n += 1;
    }
    pairs
};

/// A pseudo-random sequence, the same on every machine (a multiply-and-fold generator, not for secrets).
#[derive(Clone)]
pub(super) struct Dice(u64);

/// Folds a 128-bit product: every input bit reaches every output bit.
#[inline]
pub(super) fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x2d35_8dcc_aa6c_78a5) * u128::from(b ^ 0x8bb8_4b93_962e_acc9);
    (product >> 64) as u64 ^ product as u64
}

impl Dice {
    /// Dice of their own for every pair.
    #[inline]
    pub(super) fn new(key: u64, number: u64) -> Self {
        Self(mix(key, number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// 64 even bits.
    #[inline]
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0xa076_1d64_78bd_642f);
        mix(self.0, self.0 ^ 0xe703_7ed1_a0b4_28db)
    }

    /// An even number in `0..n`; 0 when `n` is 0.
    #[inline]
    pub(super) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.roll()) * u128::from(n)) >> 64) as u64
    }

    /// A number in `0..n` that is small more often than not, as most amounts and popularities are.
    #[inline]
    pub(super) fn small(&mut self, n: u64) -> u64 {
        let reach = self.below(n) + 1;
        self.below(reach)
    }

    /// True `percent` times out of a hundred.
    #[inline]
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A word of at most 32 bytes, padded so that it is copied in one move of fixed size.
#[derive(Clone, Copy)]
pub(super) struct Word {
    bytes: [u8; 32],
    len: u8,
}

impl Word {
    fn new(text: &str) -> Self {
        let mut bytes = [0; 32];
        debug_assert!(text.len() <= 32, "{text} is cut");
        let len = text.len().min(32);
        bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        Self { bytes, len: len as u8 }
    }
}

/// Words to choose from.
pub(super) struct Words(Vec<Word>);

impl Words {
    fn new(list: &str) -> Self {
        Self(list.split('|').map(Word::new).collect())
    }

    #[inline]
    pub(super) fn pick(&self, dice: &mut Dice) -> &Word {
        &self.0[dice.below(self.0.len() as u64) as usize]
    }

    #[inline]
    pub(super) fn nth(&self, n: u64) -> &Word {
        &self.0[(n % self.0.len() as u64) as usize]
    }
}

/// The buffer that rows are written to.
pub(super) struct Out {
    bytes: Vec<u8>,
    at: usize,
}

impl Out {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; REFILL_BYTES + SLACK_BYTES], at: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.at
    }

    pub(super) fn is_full(&self) -> bool {
        self.at >= REFILL_BYTES
    }

    pub(super) fn clear(&mut self) {
        self.at = 0;
    }

    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[..self.at]
    }

    #[inline]
    pub(super) fn text(&mut self, text: &str) {
        self.bytes[self.at..self.at + text.len()].copy_from_slice(text.as_bytes());
        self.at += text.len();
    }

    #[inline]
    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes[self.at] = byte;
        self.at += 1;
    }

    #[inline]
    pub(super) fn tab(&mut self) {
        self.byte(b'\t');
    }

    #[inline]
    fn fixed<const N: usize>(&mut self, bytes: &[u8; N], len: usize) {
        self.bytes[self.at..self.at + N].copy_from_slice(bytes);
        self.at += len;
    }

    #[inline]
    pub(super) fn word(&mut self, word: &Word) {
        self.fixed(&word.bytes, usize::from(word.len));
    }

    /// A whole number.
    #[inline]
    pub(super) fn number(&mut self, mut n: u64) {
        let mut digits = [0u8; 40];
        let mut from = 20;
        while n >= 100 {
            from -= 2;
            digits[from..from + 2].copy_from_slice(&DIGIT_PAIRS[(n % 100) as usize]);
            n /= 100;
        }
        let pair = DIGIT_PAIRS[n as usize];
        from -= 2;
        digits[from..from + 2].copy_from_slice(&pair);
        if n < 10 {
            from += 1;
        }
        let mut shifted = [0u8; 20];
        shifted.copy_from_slice(&digits[from..from + 20]);
        self.fixed(&shifted, 20 - from);
    }

    /// A number of exactly two digits.
    #[inline]
    pub(super) fn pair(&mut self, n: u64) {
        self.fixed(&DIGIT_PAIRS[(n % 100) as usize], 2);
    }

    /// An amount of hundredths as a decimal with two places.
    #[inline]
    pub(super) fn cents(&mut self, cents: u64) {
        self.number(cents / 100);
        self.byte(b'.');
        self.pair(cents);
    }

    /// Eight bytes as sixteen hexadecimal digits.
    #[inline]
    pub(super) fn hex(&mut self, n: u64) {
        let mut digits = [0u8; 16];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(n.to_be_bytes()) {
            pair.copy_from_slice(&HEX_PAIRS[usize::from(byte)]);
        }
        self.fixed(&digits, 16);
    }

    /// A random (version 4) UUID.
    #[inline]
    pub(super) fn uuid(&mut self, high: u64, low: u64) {
        let high = (high & !0xf000) | 0x4000;
        let low = (low & (u64::MAX >> 2)) | 1 << 63;
        let from = self.at;
        self.hex(high);
        self.hex(low);
        let mut plain = [0u8; 32];
        plain.copy_from_slice(&self.bytes[from..from + 32]);
        let mut dashed = [b'-'; 36];
        dashed[..8].copy_from_slice(&plain[..8]);
        dashed[9..13].copy_from_slice(&plain[8..12]);
        dashed[14..18].copy_from_slice(&plain[12..16]);
        dashed[19..23].copy_from_slice(&plain[16..20]);
        dashed[24..].copy_from_slice(&plain[20..]);
        self.at = from;
        self.fixed(&dashed, 36);
    }

    /// An IPv4 address.
    #[inline]
    pub(super) fn ip(&mut self, bits: u64) {
        self.number(11 + bits % 180);
        for shift in [16, 24, 32] {
            self.byte(b'.');
            self.number((bits >> shift) & 0xff);
        }
    }

    /// Leaves room for the frame of an archive piece, writes the piece, then fills in its length: a sign byte of 0 and
    /// four bytes, little-endian.
    #[inline]
    pub(super) fn piece(&mut self, write: impl FnOnce(&mut Self)) {
        let from = self.at;
        self.at += 5;
        write(self);
        let len = (self.at - from - 5) as u32;
        self.bytes[from] = 0;
        self.bytes[from + 1..from + 5].copy_from_slice(&len.to_le_bytes());
    }

    /// An archive integer.
    pub(super) fn int(&mut self, n: u32) {
        self.byte(0);
        self.fixed(&n.to_le_bytes(), 4);
    }
}

/// Days as text, from the first that the sample's history knows of.
pub(super) struct Calendar(Vec<[u8; 16]>);

impl Calendar {
    /// `days` days from `first` on.
    pub(super) fn new(first: Date, days: u32) -> Self {
        let name = |date: Date| {
            let mut text = [0; 16];
            for (to, from) in text.iter_mut().zip(format!("{date} ").bytes()) {
                *to = from;
            }
            text
        };
        Self(first.series(jiff::Span::new().days(1)).take(days as usize).map(name).collect())
    }

    /// The date `us` microseconds after the start of the first day.
    #[inline]
    pub(super) fn date(&self, out: &mut Out, us: u64) {
        let last = self.0.len() - 1;
        out.fixed(&self.0[((us / DAY_US) as usize).min(last)], 10);
    }

    /// The moment `us` microseconds after the start of the first day, as PostgreSQL writes a `timestamptz` in UTC.
    #[inline]
    pub(super) fn stamp(&self, out: &mut Out, us: u64) {
        let last = self.0.len() - 1;
        out.fixed(&self.0[((us / DAY_US) as usize).min(last)], 11);
        let rest = us % DAY_US;
        let (seconds, micros) = (rest / 1_000_000, rest % 1_000_000);
        // PostgreSQL cuts trailing zeros: keep the last digit above 0, so that the width is fixed.
        let micros = micros / 10 * 10 + 1 + micros % 9;
        let mut text = *b"00:00:00.000000+00\0\0\0\0\0\0";
        for (place, n) in [
            (0, seconds / 3600),
            (3, seconds / 60 % 60),
            (6, seconds % 60),
            (9, micros / 10_000),
            (11, micros / 100),
            (13, micros),
        ] {
            text[place..place + 2].copy_from_slice(&DIGIT_PAIRS[(n % 100) as usize]);
        }
        out.fixed(&text, 18);
    }
}

/// Every word list of the sample.
pub(super) struct Vocabulary {
    pub(super) first_names: Words,
    pub(super) last_names: Words,
    pub(super) mail_hosts: Words,
    pub(super) streets: Words,
    /// City and country code, split by a tab as two columns are.
    pub(super) cities: Words,
    pub(super) languages: Words,
    pub(super) qualities: Words,
    pub(super) materials: Words,
    pub(super) things: Words,
    pub(super) colours: Words,
    pub(super) openings: Words,
    pub(super) middles: Words,
    pub(super) endings: Words,
    pub(super) order_states: Words,
    pub(super) payment_states: Words,
    pub(super) shipment_states: Words,
    pub(super) currencies: Words,
    pub(super) channels: Words,
    pub(super) providers: Words,
    pub(super) brands: Words,
    pub(super) carriers: Words,
    pub(super) systems: Words,
    pub(super) campaigns: Words,
    pub(super) event_kinds: Words,
    pub(super) pages: Words,
    pub(super) document_kinds: Words,
    pub(super) actors: Words,
}

impl Vocabulary {
    pub(super) fn new() -> Self {
        Self {
            first_names: Words::new(FIRST_NAMES),
            last_names: Words::new(LAST_NAMES),
            mail_hosts: Words::new(
                "example.com|example.org|example.net|mail.example|post.example|inbox.example",
            ),
            streets: Words::new(STREETS),
            cities: Words::new(CITIES),
            languages: Words::new("de|en|fr|nl|es|it|pl|pt|sv|da|cs|fi"),
            qualities: Words::new(QUALITIES),
            materials: Words::new(
                "oak|steel|linen|wool|glass|cotton|walnut|copper|bamboo|leather|ceramic|aluminium",
            ),
            things: Words::new(THINGS),
            colours: Words::new("black|white|sand|navy|olive|rust|slate|cream|teal|ochre|plum|graphite"),
            openings: Words::new(OPENINGS),
            middles: Words::new(MIDDLES),
            endings: Words::new(ENDINGS),
            order_states: Words::new(
                "delivered|delivered|delivered|shipped|packed|paid|pending|returned|cancelled",
            ),
            payment_states: Words::new("captured|captured|captured|authorised|refunded|failed"),
            shipment_states: Words::new(
                "in transit|delivered|delivered|out for delivery|at pickup point|exception",
            ),
            currencies: Words::new("EUR|EUR|EUR|EUR|USD|GBP|SEK|PLN"),
            channels: Words::new("web|web|app|app|phone|marketplace"),
            providers: Words::new("cardhub|cardhub|paygate|bankdirect|later"),
            brands: Words::new("visa|mastercard|amex|maestro|girocard"),
            carriers: Words::new("parcelo|parcelo|northpost|quickvan|greenbike"),
            systems: Words::new(SYSTEMS),
            campaigns: Words::new(
                "spring-sale|newsletter-12|brand|retargeting|autumn-home|partner-blog|none",
            ),
            event_kinds: Words::new(
                "page_view|page_view|page_view|search|add_to_cart|checkout|login|price_alert",
            ),
            pages: Words::new("product|category|search|home|cart|account|checkout|help"),
            document_kinds: Words::new("invoice|invoice|delivery_note|return_label|credit_note"),
            actors: Words::new(
                "api|api|api|worker-1|worker-2|worker-3|import|support.anna|support.jonas|nightly",
            ),
        }
    }
}

const FIRST_NAMES: &str = "Anna|Jonas|Maria|Lukas|Sofia|Elias|Emma|Noah|Clara|Paul|Ida|Felix|Marta|Oskar|Nora|Emil|\
Lea|Hugo|Greta|Anton|Julia|David|Helena|Jakob|Elin|Mateo|Carmen|Pablo|Giulia|Marco|Chiara|Luca|Zofia|Piotr|Hanna|Tomasz|\
Camille|Louis|Manon|Arthur|Sanne|Daan|Fleur|Bram|Freja|Mikkel|Astrid|Lars|Aino|Eero|Tereza|Jan";
const LAST_NAMES: &str = "Keller|Brandt|Vogel|Winter|Sommer|Hofmann|Lindner|Krause|Berger|Schuster|Novak|Dvorak|Kowalski|\
Nowak|Zielinski|Rossi|Bianchi|Conti|Garcia|Moreno|Navarro|Silva|Costa|Pereira|Martin|Laurent|Moreau|Girard|de Vries|Bakker|\
Visser|Jansen|Nielsen|Holm|Dahl|Lund|Andersson|Ekman|Virtanen|Korhonen|Smith|Walker|Hughes|Turner|Carter|Murphy|Byrne|Fischer";
const STREETS: &str = "Birkenweg|Hauptstrasse|Lindenallee|Marktplatz|Schulstrasse|Gartenweg|Rue du Moulin|Rue Voltaire|\
Avenue Foch|Kerkstraat|Dorpsstraat|Molenweg|Via Roma|Via Garibaldi|Corso Italia|Calle Mayor|Calle del Sol|Rua Nova|\
Storgatan|Kyrkogatan|Mannerheimintie|Ulica Polna|Ulica Lipowa|Nadrazni|High Street|Mill Lane|Station Road|Church Lane|\
Victoria Road|Park Avenue|Harbour Street|Vestergade";
const CITIES: &str = "Berlin\tDE|Hamburg\tDE|Leipzig\tDE|Freiburg\tDE|Bremen\tDE|Dresden\tDE|Vienna\tAT|Graz\tAT|Zurich\tCH|\
Basel\tCH|Paris\tFR|Lyon\tFR|Nantes\tFR|Lille\tFR|Utrecht\tNL|Rotterdam\tNL|Ghent\tBE|Milan\tIT|Turin\tIT|Bologna\tIT|\
Madrid\tES|Valencia\tES|Porto\tPT|Lisbon\tPT|Stockholm\tSE|Malmo\tSE|Aarhus\tDK|Helsinki\tFI|Krakow\tPL|Gdansk\tPL|Brno\tCZ|\
Prague\tCZ|Dublin\tIE|Leeds\tGB|Bristol\tGB|Glasgow\tGB";
const QUALITIES: &str = "Compact|Classic|Foldable|Handmade|Extra large|Slim|Outdoor|Vintage|Nordic|Everyday|Studio|Soft|\
Weatherproof|Stackable|Rounded|Lightweight|Adjustable|Double|Travel|Quiet|Warm|Recycled|Kids|Modular";
const THINGS: &str = "shelf|desk lamp|armchair|teapot|blanket|cutting board|wall clock|picture frame|storage box|side table|\
bookend|candle holder|coat rack|rug|cushion cover|serving bowl|water bottle|backpack|umbrella|notebook|pencil case|door mat|\
plant pot|bench|stool|mirror|knife block|bread bin|laundry basket|curtain|bed frame|mattress topper|desk organiser|floor lamp|\
coffee grinder|french press|wine rack|garden chair|lantern|bird feeder";
const OPENINGS: &str = "Arrived two days late but|Exactly as pictured,|Bought it for my sister and|After three weeks of use|\
The colour is darker, yet|Solid work for the price:|Not what I hoped for,|Second one I ordered,|Assembly took an hour and|\
I was unsure at first but|Good packaging,|My husband says that|For a small flat|Compared with the older model|\
The finish is flawless and|Returned the first one because|We use it every day and|Honestly|As a gift|Customer asks that";
const MIDDLES: &str = "the surface feels sturdy|one screw was missing|the seams are neat|it fits the hallway|the lid closes well|\
the smell went away|support answered quickly|the corners were dented|the fabric is soft|it wobbles a little|\
the manual is hard to read|the size is just right|delivery was friendly|the handle came loose|it looks expensive|\
the colour matches|it cleans easily|the legs are uneven|everyone asked about it|the box was open|\
the light is warm|it holds more than expected|the price went down|the print is sharp";
const ENDINGS: &str = "and I would buy it again.|so four stars from me.|but that is fine.|as described.|and it lasts.|\
so it goes back.|after all.|for now.|and the kids love it.|with the older shelf.|which surprised me.|and I can recommend it.|\
before the holidays.|on the second try.|without any tools.|as always.";
// Kept to 32 bytes each: the version number behind them varies.
const SYSTEMS: &str = "Windows NT 10.0; Win64; x64|X11; Linux x86_64; rv:128.0|Macintosh; Intel Mac OS X 14_5|\
iPhone; CPU iPhone OS 17_5|Linux; Android 14; Pixel 8|Linux; Android 13; SM-G991B|iPad; CPU OS 17_4";
