//! Random dumps with few identifiers of each type and times on a coarse grid, so that events affect each other.

use super::{
    Random,
    value::{Value, object, quoted, text},
};

/// 2024-02-28T23:00:00Z.
const START: i64 = 1_709_161_200_000;

/// The grid of times of a dump.
pub(crate) struct Clock {
    start: i64,
    step: i64,
    n_steps: usize,
}

impl Clock {
    pub(crate) fn new(random: &mut Random) -> Self {
        const HOUR: i64 = 3_600_000;
        let steps =
            [1, 1000, 60_000, HOUR, 12 * HOUR, 24 * HOUR, 72 * HOUR, 168 * HOUR, 720 * HOUR, 2190 * HOUR];
        // The smallest integer that is read as milliseconds.
        let start = if random.chance(3) { 100_000_000_000 } else { START };
        Self { start, step: steps[random.below(steps.len())], n_steps: random.from(1, 24) }
    }

    /// Returns a random time, in milliseconds since 1970.
    pub(crate) fn time(&self, random: &mut Random) -> i64 {
        self.start + self.step * i64::try_from(random.below(self.n_steps)).unwrap()
    }
}

/// Generates a dump with one event per line.
pub(crate) fn make(random: &mut Random) -> Vec<Value> {
    let clock = Clock::new(random);
    let n_ids = random.from(2, 6);
    let most = random.from(5, 40);
    let n_events = random.from(5, most);
    (0..n_events).map(|number| event(random, &clock, n_ids, number)).collect()
}

fn event(random: &mut Random, clock: &Clock, n_ids: usize, number: usize) -> Value {
    let call = random.pick(&[
        "identify", "identify", "identify", "identify", "track", "track", "page", "page", "screen", "group",
        "alias",
    ]);
    let mut members = vec![("type", text(call))];
    if random.chance(93) {
        let id = if random.chance(8) { random.below(number + 1) } else { number };
        members.push(("messageId", text(&format!("m{id}"))));
    }
    times(random, clock, &mut members);
    if random.chance(55) {
        members.push(("userId", identifier(random, n_ids, "u")));
    }
    if random.chance(60) {
        members.push(("anonymousId", identifier(random, n_ids, "a")));
    }
    if random.chance(if call == "identify" { 75 } else { 15 }) {
        members.push(("traits", traits(random, n_ids)));
    }
    if random.chance(45) {
        members.push(("context", context(random, n_ids)));
    }
    if random.chance(25) {
        let mut properties = named_identifiers(random, n_ids, 25);
        if random.chance(30) {
            let key = random.pick(&["name", "category", "Name"]);
            let value = random.pick(&["\"Home\"", "\"\"", "404", "true", "null", "{\"a\":1}"]);
            properties.push((key.to_owned(), Value::Scalar(value.to_owned())));
        }
        properties.push(("price".to_owned(), Value::Scalar(random.pick(&["1", "2.50", "null"]).to_owned())));
        members.push(("properties", with_quoted_keys(properties)));
    }
    if random.chance(30) {
        members.push((random.pick(&["projectId", "sourceId"]), text(random.pick(&["s1", "s2", "s3"]))));
    }
    match call {
        "track" if random.chance(90) => {
            members.push((
                "event",
                text(random.pick(&["Order Completed", "Order Cancelled", "Tap", "!", "[App] Tap"])),
            ));
        }
        "page" | "screen" if random.chance(50) => members.push(("name", text(random.pick(&["Home", ""])))),
        "group" => members.push(("groupId", identifier(random, n_ids, "g"))),
        "alias" => members.push(("previousId", identifier(random, n_ids, "u"))),
        _ => {}
    }
    object(members)
}

fn times(random: &mut Random, clock: &Clock, members: &mut Vec<(&'static str, Value)>) {
    let received_at = clock.time(random);
    let millis = |time: i64| Value::Scalar(time.to_string());
    if random.chance(95) {
        members.push(("receivedAt", millis(received_at)));
    }
    match random.below(10) {
        0..=5 => members.push(("timestamp", millis(received_at))),
        // Late, early, or from a wrong clock.
        6..=8 => members.push(("timestamp", millis(clock.time(random)))),
        _ => {
            let sent_at = clock.time(random);
            members.push(("originalTimestamp", millis(sent_at.min(received_at))));
            members.push(("sentAt", millis(sent_at)));
        }
    }
}

/// Returns one of a few identifier values: usually text, sometimes a number, in upper case, with blanks, blocked, or
/// not usable at all.
pub(crate) fn identifier(random: &mut Random, n_ids: usize, prefix: &str) -> Value {
    let number = random.from(1, n_ids);
    let plain = format!("{prefix}{number}");
    let written = match random.below(30) {
        0 => number.to_string(),
        1 => format!("{number}.0"),
        2 => quoted(&number.to_string()),
        3 => quoted(&plain.to_uppercase()),
        4 => quoted(&format!(" {plain}")),
        5 => random
            .pick(&[
                "\"-1\"",
                "-1",
                "0",
                "\"000-0\"",
                "\"NULL\"",
                "\"anonymous\"",
                "\"Anonymous\"",
                "\"--\"",
                "\"undefined\"",
                "\"nan\"",
                "\"[object Object]\"",
                "\"\\t\u{2003}\u{a0}\"",
            ])
            .to_owned(),
        6 => random.pick(&["null", "\"\"", "true", "{}", "[]", "{\"id\":1}", "\" \""]).to_owned(),
        // A value that occurs under several types, which makes it several identifiers.
        7 => quoted(&format!("x{number}")),
        _ => quoted(&plain),
    };
    Value::Scalar(written)
}

fn with_quoted_keys(members: Vec<(String, Value)>) -> Value {
    Value::Object(members.into_iter().map(|(key, value)| (quoted(&key), value)).collect())
}

/// Returns members whose keys may be those of identifiers.
fn named_identifiers(random: &mut Random, n_ids: usize, percent: usize) -> Vec<(String, Value)> {
    const KEYS: [(&str, &str); 21] = [
        ("email", "e"),
        ("email", "e"),
        ("EMAIL", "e"),
        ("loyalty_id", "l"),
        ("loyaltyId", "l"),
        ("Loyalty ID", "l"),
        ("crmKey", "c"),
        ("crm_key", "c"),
        ("phone", "p"),
        ("user_id", "u"),
        ("userId", "u"),
        ("anonymousId", "a"),
        ("ios.id", "d"),
        ("ios_id", "d"),
        ("iosIdfa", "d"),
        ("ga_client_id", "g"),
        ("crossDomainId", "x"),
        ("cross_domain_id", "x"),
        ("brazeId", "b"),
        ("", "n"),
        ("android_id", "d"),
    ];
    let mut members = Vec::new();
    for (key, prefix) in random.some(&KEYS, percent / 2) {
        members.push((key.to_owned(), identifier(random, n_ids, prefix)));
    }
    if random.chance(percent) {
        members.push(("email".to_owned(), identifier(random, n_ids, "e")));
    }
    members
}

/// Returns the traits of an identify call, with colliding columns, objects and removals.
fn traits(random: &mut Random, n_ids: usize) -> Value {
    const NAMES: [&str; 10] = [
        "firstName",
        "first_name",
        "plan",
        "address",
        "address_city",
        "addressCity",
        "address_geo",
        "id",
        "!",
        "Address",
    ];
    let mut members = named_identifiers(random, n_ids, 15);
    for name in random.some(&NAMES, 20) {
        members.push((name.to_owned(), trait_value(random, 2)));
    }
    with_quoted_keys(members)
}

fn trait_value(random: &mut Random, deeper: usize) -> Value {
    match random.below(12) {
        0 | 1 => Value::Scalar("null".to_owned()),
        2 => text(""),
        3 => Value::Scalar(random.pick(&["1", "1.0", "true", "false", "-0"]).to_owned()),
        4 => Value::Array(vec![Value::Scalar("1".to_owned()), trait_value(random, 0)]),
        5..=8 if 0 < deeper => {
            let keys = random.some(&["city", "City", "geo", "lat", "!", "postalCode", "city_lat"], 35);
            let members = keys.into_iter().map(|key| (key, trait_value(random, deeper - 1))).collect();
            object(members)
        }
        _ => text(random.pick(&["a", "b", "c"])),
    }
}

fn context(random: &mut Random, n_ids: usize) -> Value {
    let mut members = Vec::new();
    if random.chance(45) {
        let of_context = named_identifiers(random, n_ids, 30);
        members.push(("traits", with_quoted_keys(of_context)));
    }
    if random.chance(35) {
        let mut device = vec![("type", text(random.pick(&["ios", "iOS", "android", "ANDROID", "tv"])))];
        for (key, prefix) in [("id", "d"), ("advertisingId", "d"), ("token", "t")] {
            if random.chance(50) {
                device.push((key, identifier(random, n_ids, prefix)));
            }
        }
        if random.chance(50) {
            let on = random.pick(&["true", "true", "false", "1", "\"true\"", "null"]);
            device.push(("adTrackingEnabled", Value::Scalar(on.to_owned())));
        }
        members.push(("device", object(device)));
    }
    if random.chance(15) {
        let analytics = object(vec![("clientId", identifier(random, n_ids, "g"))]);
        members.push(("integrations", object(vec![("Google Analytics", analytics)])));
    }
    if random.chance(15) {
        members.push(("Braze", object(vec![("braze_id", identifier(random, n_ids, "b"))])));
    }
    if random.chance(45) {
        let n_entries = random.from(0, 3);
        let entries = (0..n_entries).map(|_| external_id(random, n_ids)).collect();
        members.push(("externalIds", Value::Array(entries)));
    }
    object(members)
}

fn external_id(random: &mut Random, n_ids: usize) -> Value {
    let (name, prefix) = [
        ("user_id", "u"),
        ("User_ID", "u"),
        ("anonymous_id", "a"),
        ("email", "e"),
        ("loyalty_id", "l"),
        ("Loyalty ID", "l"),
        ("crmkey", "c"),
        ("phone", "p"),
        ("aaa", "u"),
        ("zzz", "u"),
        ("group_id", "g"),
        ("GROUP_ID", "g"),
        ("ios.id", "d"),
    ][random.below(13)];
    let mut members = vec![("id", identifier(random, n_ids, prefix))];
    let kind = match random.below(30) {
        0 => Value::Scalar(random.pick(&["null", "5", "\"\"", "{}"]).to_owned()),
        _ => text(name),
    };
    members.push(("type", kind));
    if random.chance(40) {
        let collection =
            random.pick(&["\"users\"", "\"users\"", "\"accounts\"", "\"\"", "null", "\"Users\"", "1"]);
        members.push(("collection", Value::Scalar(collection.to_owned())));
    }
    if random.chance(30) {
        members.push(("encoding", text("none")));
    }
    object(members)
}
