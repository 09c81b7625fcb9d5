//! The rows of each table, as lines of `COPY … TO stdout`.
//!
//! A row is a pure function of seed, table, id and the day of its last change. What never changes in a row comes from
//! the dice of its id; what an update touches comes from the dice of id and day. JSON is written as `jsonb` prints it:
//! keys by length, then by bytes.

use super::heap::RowVersion;
use super::text::{Calendar, DAY_US, Dice, Out, Vocabulary, Word, mix};
use jiff::civil::Date;

/// Number of the table in [`super::schema::TABLES`], for what refers to another table's rows.
const CUSTOMERS: u64 = 2;
const PRODUCTS: u64 = 10;

/// Everything that rows are made from; a few tens of KiB, whatever the size of the sample.
pub(super) struct Rows {
    seed: u64,
    words: Vocabulary,
    calendar: Calendar,
    /// From the first row's creation to the dump of day 0.
    history_us: u64,
    customers: u64,
    products: u64,
    document_head: String,
}

/// The row that is being written.
#[derive(Clone)]
pub(super) struct Row {
    id: u64,
    changed: u16,
    /// For what stays.
    fixed: Dice,
    /// For what an update changes.
    fresh: Dice,
    created_us: u64,
}

impl Rows {
    /// `first` is the first row's day, `history_days` later the dump of day 0 is taken; the calendar ends `days` after
    /// that. `customers` and `products` are the rows of day 0, which others may refer to.
    pub(super) fn new(
        seed: u64,
        first: Date,
        history_days: u32,
        days: u16,
        customers: u64,
        products: u64,
    ) -> Self {
        let head = "%PDF-1.4\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n2 0 obj\n<</Type/Pages/Kids[3 0 R]/Count 1>>\nendobj\n\
            3 0 obj\n<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R>>\nendobj\n4 0 obj\n<</Filter/FlateDecode>>\nstream\n";
        Self {
            seed,
            words: Vocabulary::new(),
            calendar: Calendar::new(first, history_days + u32::from(days) + 1),
            history_us: u64::from(history_days) * DAY_US,
            customers,
            products,
            document_head: head.bytes().map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    /// The key of a table's dice.
    pub(super) fn key(&self, table: u64) -> u64 {
        mix(self.seed, table)
    }

    /// Microseconds between two rows of a table, which come evenly.
    pub(super) fn pace_us(&self, rows_day_0: u64) -> u64 {
        self.history_us / rows_day_0.max(1)
    }

    /// What the writers below take: the row of a table with this key and pace.
    #[inline]
    pub(super) fn row(&self, key: u64, pace_us: u64, version: RowVersion) -> Row {
        let RowVersion { id, changed } = version;
        let mut fixed = Dice::new(key, id);
        let created_us = (id - 1) * pace_us + fixed.below(pace_us);
        Row { id, changed, fixed, fresh: Dice::new(!key, id << 16 | u64::from(changed)), created_us }
    }

    fn stamp(&self, out: &mut Out, us: u64) {
        self.calendar.stamp(out, us);
    }

    /// When the row changed last: within two hours of its creation and on the same day, or on the day before that day's
    /// dump.
    fn touched_us(&self, row: &mut Row) -> u64 {
        match row.changed {
            0 => {
                let day_ends_us = (row.created_us / DAY_US + 1) * DAY_US - 1;
                (row.created_us + row.fixed.small(DAY_US / 12)).min(day_ends_us)
            }
            day => self.history_us + u64::from(day) * DAY_US - 1 - row.fresh.below(DAY_US),
        }
    }

    /// Two columns, both known to every table that is updated: `created_at`, `updated_at`.
    fn stamps(&self, out: &mut Out, row: &mut Row) {
        self.stamp(out, row.created_us);
        out.tab();
        let touched = self.touched_us(row);
        self.stamp(out, touched);
    }

    fn person(&self, customer: u64) -> Person<'_> {
        let mut dice = Dice::new(self.key(CUSTOMERS) ^ 1, customer);
        Person {
            first: self.words.first_names.pick(&mut dice),
            last: self.words.last_names.pick(&mut dice),
            street: self.words.streets.pick(&mut dice),
            house: 1 + dice.small(160),
            postcode: 10_000 + dice.below(89_999),
            city: self.words.cities.pick(&mut dice),
        }
    }

    fn title(&self, out: &mut Out, product: u64) {
        let mut dice = Dice::new(self.key(PRODUCTS) ^ 1, product);
        out.word(self.words.qualities.pick(&mut dice));
        out.byte(b' ');
        out.word(self.words.materials.pick(&mut dice));
        out.byte(b' ');
        out.word(self.words.things.pick(&mut dice));
    }

    fn price_cents(&self, product: u64) -> u64 {
        let mut dice = Dice::new(self.key(PRODUCTS) ^ 2, product);
        499 + dice.small(400) * 100
    }

    fn sentence(&self, out: &mut Out, dice: &mut Dice) {
        out.word(self.words.openings.pick(dice));
        out.byte(b' ');
        out.word(self.words.middles.pick(dice));
        if dice.chance(40) {
            out.text(" and ");
            out.word(self.words.middles.pick(dice));
        }
        out.byte(b' ');
        out.word(self.words.endings.pick(dice));
    }

    fn system(&self, out: &mut Out, dice: &mut Dice) {
        out.text("Mozilla/5.0 (");
        out.word(self.words.systems.pick(dice));
        out.text(") AppleWebKit/537.36 (KHTML, like Gecko) Chrome/");
        out.number(118 + dice.small(18));
        out.text(".0.0.0 Safari/537.36");
    }

    pub(super) fn category(&self, out: &mut Out, row: Row) {
        let thing = self.words.things.nth(row.id);
        out.number(row.id);
        out.tab();
        if row.id <= 6 {
            out.text("\\N");
        } else {
            out.number(1 + row.id % 6);
        }
        out.text("\tcategory-");
        out.number(row.id);
        out.tab();
        out.word(self.words.qualities.nth(row.id / 5));
        out.byte(b' ');
        out.word(thing);
        out.text("s\n");
    }

    pub(super) fn warehouse(&self, out: &mut Out, row: Row) {
        out.number(row.id);
        out.text("\tW");
        out.pair(row.id);
        out.tab();
        out.word(self.words.cities.nth(row.id * 7));
        out.byte(b'\n');
    }

    pub(super) fn customer(&self, out: &mut Out, mut row: Row) {
        let person = self.person(row.id);
        out.number(row.id);
        out.tab();
        out.word(person.first);
        out.byte(b'.');
        out.number(row.id);
        out.byte(b'@');
        out.word(self.words.mail_hosts.pick(&mut row.fixed));
        out.tab();
        person.name(out);
        out.text("\t+49 1");
        out.number(50 + row.fixed.below(29));
        out.byte(b' ');
        out.number(1_000_000 + row.fixed.below(8_999_999));
        out.tab();
        person.street(out);
        out.tab();
        out.number(person.postcode);
        out.tab();
        out.word(person.city);
        out.tab();
        out.word(self.words.languages.pick(&mut row.fixed));
        out.text(if row.fixed.chance(35) { "\tt\t" } else { "\tf\t" });
        out.number(row.fresh.small(5000));
        out.tab();
        out.cents(row.fresh.small(20_000));
        out.tab();
        self.stamps(out, &mut row);
        out.byte(b'\n');
    }

    pub(super) fn product(&self, out: &mut Out, mut row: Row) {
        let dice = &mut row.fixed;
        out.number(row.id);
        out.text("\tSKU-");
        out.number(10_000_000 + mix(row.id, 5) % 80_000_000);
        out.byte(b'-');
        out.number(row.id);
        out.tab();
        out.number(7 + dice.below(42));
        out.tab();
        self.title(out, row.id);
        out.tab();
        for n in 0..2 + dice.below(3) {
            if n > 0 {
                out.byte(b' ');
            }
            self.sentence(out, dice);
        }
        out.tab();
        out.cents(self.price_cents(row.id) + if row.changed == 0 { 0 } else { row.fresh.below(20) * 50 });
        out.tab();
        out.number(100 + dice.small(20_000));
        out.text("\t{\"ean\": \"40");
        out.number(10_000_000_000 + dice.below(89_999_999_999));
        out.text("\", \"color\": \"");
        out.word(self.words.colours.pick(dice));
        out.text("\", \"material\": \"");
        out.word(self.words.materials.pick(dice));
        out.text("\", \"width_mm\": ");
        out.number(20 + dice.small(1800));
        out.text(", \"height_mm\": ");
        out.number(10 + dice.small(2200));
        out.text("}\t");
        self.stamps(out, &mut row);
        out.byte(b'\n');
    }

    pub(super) fn inventory(&self, out: &mut Out, mut row: Row) {
        let (product, warehouse) = ((row.id - 1) / 4 + 1, (row.id - 1) % 4 + 1);
        out.number(product);
        out.tab();
        out.number(warehouse);
        out.tab();
        out.number(row.fresh.small(900));
        out.tab();
        out.number(row.fresh.small(12));
        out.tab();
        out.byte(b'A' + row.fixed.below(12) as u8);
        out.byte(b'-');
        out.pair(row.fixed.below(60));
        out.byte(b'-');
        out.pair(row.fixed.below(8));
        out.tab();
        let touched = self.touched_us(&mut row);
        self.stamp(out, touched);
        out.byte(b'\n');
    }

    pub(super) fn order(&self, out: &mut Out, mut row: Row) {
        let customer = 1 + row.fixed.below(self.customers);
        let person = self.person(customer);
        let subtotal = 900 + row.fixed.small(60_000);
        out.number(row.id);
        out.text("\tSO-");
        self.calendar.date(out, row.created_us);
        out.byte(b'-');
        out.number(row.id);
        out.tab();
        out.number(customer);
        out.tab();
        out.word(self.words.order_states.pick(&mut row.fresh));
        out.tab();
        out.word(self.words.currencies.pick(&mut row.fixed));
        out.tab();
        out.cents(subtotal);
        out.tab();
        out.cents(subtotal * 19 / 100);
        out.tab();
        out.cents(subtotal + subtotal * 19 / 100);
        out.tab();
        out.word(self.words.channels.pick(&mut row.fixed));
        out.text("\t{\"zip\": \"");
        out.number(person.postcode);
        out.text("\", \"name\": \"");
        person.name(out);
        out.text("\", \"street\": \"");
        person.street(out);
        out.text("\"}\t");
        if row.fixed.chance(12) {
            self.sentence(out, &mut row.fixed);
        } else {
            out.text("\\N");
        }
        out.tab();
        self.stamps(out, &mut row);
        out.byte(b'\n');
    }

    pub(super) fn order_item(&self, out: &mut Out, mut row: Row) {
        // Four orders share twelve lines: one, two, four and five.
        const ORDER_OF_LINE: [u64; 12] = [1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4];
        const LINE: [u64; 12] = [1, 1, 2, 1, 2, 3, 4, 1, 2, 3, 4, 5];
        let (four, line) = ((row.id - 1) / 12, ((row.id - 1) % 12) as usize);
        let product = 1 + row.fixed.small(self.products);
        out.number(row.id);
        out.tab();
        out.number(four * 4 + ORDER_OF_LINE[line]);
        out.tab();
        out.number(LINE[line]);
        out.tab();
        out.number(product);
        out.tab();
        self.title(out, product);
        out.tab();
        out.number(1 + row.fresh.small(6));
        out.tab();
        out.cents(self.price_cents(product));
        out.tab();
        out.cents(if row.fresh.chance(20) { row.fresh.below(40) * 25 } else { 0 });
        out.text(if row.fixed.chance(85) { "\t19.00\n" } else { "\t7.00\n" });
    }

    pub(super) fn payment(&self, out: &mut Out, mut row: Row) {
        let amount = 900 + row.fixed.small(70_000);
        let (high, low) = (row.fixed.roll(), row.fixed.roll());
        out.uuid(high, low);
        out.tab();
        out.number(row.id);
        out.tab();
        out.word(self.words.providers.pick(&mut row.fixed));
        out.tab();
        out.word(self.words.payment_states.pick(&mut row.fresh));
        out.tab();
        out.cents(amount);
        out.tab();
        out.word(self.words.currencies.pick(&mut row.fixed));
        out.text("\tpi_");
        out.hex(row.fixed.roll());
        out.hex(row.fixed.roll());
        out.text("\t{\"ip\": \"");
        out.ip(row.fixed.roll());
        out.text("\", \"fee\": ");
        out.cents(25 + amount * 14 / 1000);
        out.text(", \"brand\": \"");
        out.word(self.words.brands.pick(&mut row.fixed));
        out.text("\", \"last4\": \"");
        out.number(1000 + row.fixed.below(8999));
        out.text("\", \"expires\": \"20");
        out.pair(27 + row.fixed.below(5));
        out.byte(b'-');
        out.pair(1 + row.fixed.below(12));
        out.text("\"}\t");
        self.stamps(out, &mut row);
        out.byte(b'\n');
    }

    pub(super) fn shipment(&self, out: &mut Out, mut row: Row) {
        out.number(row.id);
        out.tab();
        out.number((row.id * 4).div_ceil(3));
        out.tab();
        out.word(self.words.carriers.pick(&mut row.fixed));
        out.text("\t00340434");
        out.number(100_000_000_000 + row.fixed.below(899_999_999_999));
        out.tab();
        out.word(self.words.shipment_states.pick(&mut row.fresh));
        out.tab();
        out.number(200 + row.fixed.small(30_000));
        out.tab();
        self.stamps(out, &mut row);
        out.byte(b'\n');
    }

    pub(super) fn session(&self, out: &mut Out, mut row: Row) {
        let dice = &mut row.fixed;
        out.hex(dice.roll());
        out.hex(dice.roll());
        out.tab();
        out.number(1 + dice.below(self.customers));
        out.tab();
        out.ip(dice.roll());
        out.tab();
        self.system(out, dice);
        out.text("\t{\"utm\": {\"source\": \"");
        out.word(self.words.campaigns.pick(dice));
        out.text("\"}, \"cart\": [");
        for n in 0..row.fresh.small(5) {
            if n > 0 {
                out.text(", ");
            }
            out.number(1 + row.fresh.small(self.products));
        }
        out.text("], \"lang\": \"");
        out.word(self.words.languages.pick(dice));
        out.text("\", \"pages\": ");
        out.number(1 + row.fresh.small(60));
        out.text("}\t");
        self.stamps(out, &mut row);
        out.byte(b'\n');
    }

    pub(super) fn event(&self, out: &mut Out, mut row: Row) {
        let dice = &mut row.fixed;
        let product = 1 + dice.small(self.products);
        out.number(row.id);
        out.tab();
        out.number(1 + dice.below(self.customers));
        out.tab();
        out.word(self.words.event_kinds.pick(dice));
        out.text("\t{\"ms\": ");
        out.number(12 + dice.small(2400));
        out.text(", \"page\": \"");
        out.word(self.words.pages.pick(dice));
        out.text("\", \"path\": \"/shop/");
        out.word(self.words.materials.pick(dice));
        out.byte(b'/');
        out.number(product);
        out.text("\", \"trace\": \"");
        out.hex(dice.roll());
        out.text("\", \"campaign\": \"");
        out.word(self.words.campaigns.pick(dice));
        out.text("\", \"viewport\": [");
        out.number(360 + dice.below(1500));
        out.text(", ");
        out.number(640 + dice.below(700));
        out.text("]}\t");
        out.text(if row.changed != 0 || dice.chance(90) { "t\t" } else { "f\t" });
        self.stamp(out, row.created_us);
        out.tab();
        let touched = self.touched_us(&mut row);
        self.stamp(out, touched);
        out.byte(b'\n');
    }

    pub(super) fn document(&self, out: &mut Out, mut row: Row) {
        let dice = &mut row.fixed;
        let kind = self.words.document_kinds.pick(dice);
        out.number(row.id);
        out.tab();
        out.number(row.id * 8);
        out.tab();
        out.word(kind);
        out.tab();
        out.word(kind);
        out.byte(b'-');
        out.number(row.id);
        out.text(".pdf\tapplication/pdf\t\\\\x");
        out.text(&self.document_head);
        for _ in 0..8 + dice.below(40) {
            out.hex(dice.roll());
        }
        out.text("0a656e6473747265616d0a656e646f626a0a2525454f460a\t");
        self.stamps(out, &mut row);
        out.byte(b'\n');
    }

    pub(super) fn review(&self, out: &mut Out, mut row: Row) {
        let dice = &mut row.fixed;
        out.number(row.id);
        out.tab();
        out.number(1 + dice.small(self.products));
        out.tab();
        out.number(1 + dice.below(self.customers));
        out.tab();
        out.number(5 - dice.small(5));
        out.tab();
        for n in 0..1 + dice.small(5) {
            if n > 0 {
                out.byte(b' ');
            }
            self.sentence(out, dice);
        }
        out.tab();
        out.number(row.fresh.small(40));
        out.tab();
        self.stamps(out, &mut row);
        out.byte(b'\n');
    }

    pub(super) fn audit(&self, out: &mut Out, mut row: Row) {
        let dice = &mut row.fixed;
        let customer = 1 + dice.below(self.customers);
        out.number(row.id);
        out.tab();
        out.number(740 + row.id * 3 / 2);
        out.tab();
        out.word(self.words.actors.pick(dice));
        out.tab();
        let (high, low) = (dice.roll(), dice.roll());
        out.uuid(high, low);
        match dice.below(3) {
            0 => {
                out.text("\tupdate\tcustomers\t");
                out.number(customer);
                out.text("\t{\"new\": {\"balance\": ");
                out.cents(dice.small(20_000));
                out.text("}, \"old\": {\"balance\": ");
                out.cents(dice.small(20_000));
                out.text("}}\t");
            }
            1 => {
                out.text("\tupdate\torders\t");
                out.number(row.id / 2 + 1);
                out.text("\t{\"new\": {\"status\": \"");
                out.word(self.words.order_states.pick(dice));
                out.text("\"}, \"old\": {\"status\": \"pending\"}}\t");
            }
            _ => {
                out.text("\tinsert\tpayments\t");
                out.number(row.id / 2 + 1);
                out.text("\t{\"new\": {\"amount\": ");
                out.cents(900 + dice.small(70_000));
                out.text(", \"provider\": \"");
                out.word(self.words.providers.pick(dice));
                out.text("\", \"reference\": \"pi_");
                out.hex(dice.roll());
                out.text("\"}}\t");
            }
        }
        self.stamp(out, row.created_us);
        out.byte(b'\n');
    }
}

/// A customer's name and address, wherever they appear.
struct Person<'a> {
    first: &'a Word,
    last: &'a Word,
    street: &'a Word,
    house: u64,
    postcode: u64,
    city: &'a Word,
}

impl Person<'_> {
    fn name(&self, out: &mut Out) {
        out.word(self.first);
        out.byte(b' ');
        out.word(self.last);
    }

    fn street(&self, out: &mut Out) {
        out.word(self.street);
        out.byte(b' ');
        out.number(self.house);
    }
}
