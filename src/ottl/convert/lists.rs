//! Converters of lists and of what lists decide: `Sort`, `SliceToMap`, `ContainsValue`, `Index`, `IsInCIDR` and
//! `ParseSeverity`.

use std::cmp::Ordering;
use std::net::IpAddr;

use crate::ottl::Failure;
use crate::ottl::convert::{object, text_value};
use crate::ottl::parse::Compare;
use crate::ottl::value::{Step, Value};

const TOO_LONG: Failure = Failure("the list has too many elements");

pub fn contains<'a>(list: &Value<'_>, wanted: &Value<'_>) -> Result<Value<'a>, Failure> {
    let elements = list.elements().ok_or(TOO_LONG)?;
    Ok(Value::Bool(elements.iter().any(|element| element.compare(Compare::Equal, wanted))))
}

/// The place of a part in a text or of an element in a list; -1 when it is not there.
pub fn index<'a>(whole: &Value<'_>, wanted: &Value<'_>) -> Result<Value<'a>, Failure> {
    let found = match (whole, wanted) {
        (Value::Text(whole), Value::Text(part)) => whole.find(&**part),
        (Value::Text(_), _) => return Err(Failure("a text is looked for in a text")),
        (list, wanted) if list.is_list() => {
            let elements = list.elements().ok_or(TOO_LONG)?;
            elements.iter().position(|element| element.compare(Compare::Equal, wanted))
        }
        _ => return Err(Failure("expected a text or a list")),
    };
    Ok(Value::Int(found.map_or(-1, |at| at as i64)))
}

/// Numbers by size; with a text, truth value or nil among them, all by their texts. Other lists stay as they are.
pub fn sort<'a>(list: Value<'a>, descending: bool) -> Result<Value<'a>, Failure> {
    if !list.is_list() {
        return Err(Failure("expected a list"));
    }
    let mut elements = list.elements().ok_or(TOO_LONG)?;
    let texts = elements.iter().any(|value| matches!(value, Value::Text(_) | Value::Bool(_) | Value::Nil));
    let others = elements
        .iter()
        .any(|value| !matches!(value, Value::Text(_) | Value::Bool(_) | Value::Nil | Value::Int(_) | Value::Float(_)));
    if others {
        return Ok(list);
    }
    let turn = |order: Ordering| if descending { order.reverse() } else { order };
    if texts {
        let mut keyed = Vec::with_capacity(elements.len());
        for element in elements {
            keyed.push((element.to_plain_text()?.into_owned(), element));
        }
        keyed.sort_by(|a, b| turn(a.0.cmp(&b.0)));
        return Ok(Value::List(keyed.into_iter().map(|(_, element)| element).collect()));
    }
    let number = |value: &Value<'_>| match value {
        Value::Int(number) => *number as f64,
        Value::Float(number) => *number,
        _ => f64::NAN,
    };
    elements.sort_by(|a, b| match (a, b) {
        (Value::Int(a), Value::Int(b)) => turn(a.cmp(b)),
        // What is no number comes before all numbers.
        (a, b) => {
            let (a, b) = (number(a), number(b));
            turn(a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())))
        }
    });
    Ok(Value::List(elements))
}

/// A map of the list's elements, or of what stands under a path in each, by their place or by what stands under a path.
pub fn slice_to_map<'a>(list: &Value<'a>, key: &Value<'_>, value: &Value<'_>) -> Result<Value<'a>, Failure> {
    let mut pairs = Vec::new();
    for (at, element) in list.elements().ok_or(TOO_LONG)?.into_iter().enumerate() {
        if (!key.is_nil() || !value.is_nil()) && !element.is_map() {
            return Err(Failure("an element of the list is no map"));
        }
        let name = match key {
            Value::Nil => at.to_string(),
            path => match under(&element, path)? {
                Value::Text(name) => name.into_owned(),
                _ => return Err(Failure("the key of an element is no text")),
            },
        };
        let made = if value.is_nil() { element } else { under(&element, value)? };
        pairs.push((name, made));
    }
    object(pairs)
}

fn under<'a>(element: &Value<'a>, path: &Value<'_>) -> Result<Value<'a>, Failure> {
    const MISSING: Failure = Failure("an element of the list has no such path");
    let mut found = element.clone();
    let path = path.elements().filter(|path| !path.is_empty()).ok_or(Failure("a path of no names"))?;
    for name in path {
        let Value::Text(name) = name else { return Err(MISSING) };
        found = found.at(&Step::Name(name)).ok().flatten().ok_or(MISSING)?;
    }
    Ok(found)
}

/// A network: an address and how many of its bits count.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    pub fn parse(text: &str) -> Option<Network> {
        let (address, bits) = text.split_once('/')?;
        let plain = !bits.is_empty() && bits.len() < 4 && bits.bytes().all(|c| c.is_ascii_digit());
        let (address, bits): (IpAddr, u32) = (address.parse().ok()?, plain.then(|| bits.parse().ok())??);
        (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some(Network { address, bits })
    }

    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differ = u32::from(network) ^ u32::from(address);
                self.bits == 0 || differ >> (32 - self.bits) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differ = u128::from(network) ^ u128::from(address);
                self.bits == 0 || differ >> (128 - self.bits) == 0
            }
            _ => false,
        }
    }
}

pub fn is_in_cidr(address: &str, networks: &Value<'_>) -> Result<bool, Failure> {
    let Ok(address) = address.parse::<IpAddr>() else { return Ok(false) };
    for network in networks.elements().ok_or(TOO_LONG)? {
        let Value::Text(network) = network else { return Err(Failure("expected a string")) };
        let network = Network::parse(&network).ok_or(Failure("the text is no network such as 10.0.0.0/8"))?;
        if network.contains(address.to_canonical()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Which texts and numbers mean which severity, in the order of writing.
#[derive(Debug, Default)]
pub struct Severities {
    levels: Vec<Level>,
}

#[derive(Debug, Default)]
struct Level {
    name: String,
    equals: Vec<String>,
    /// Both ends belong to it.
    ranges: Vec<(i64, i64)>,
}

impl Level {
    fn add(&mut self, criterion: &Value<'_>) -> Result<(), &'static str> {
        if !criterion.is_map() {
            return Err("a criterion of a severity must be a map");
        }
        let part = |name: &'static str| criterion.clone().at(&Step::Name(name.into())).ok().flatten();
        if let Some(words) = part("equals") {
            let words = words.elements().ok_or("`equals` must be a list")?;
            let word = |word: Value<'_>| match word {
                Value::Text(word) => Ok(word.into_owned()),
                _ => Err("`equals` must be a list of strings"),
            };
            self.equals.extend(words.into_iter().map(word).collect::<Result<Vec<_>, _>>()?);
        }
        if let Some(bounds) = part("range") {
            self.ranges.push(range(bounds)?);
        }
        Ok(())
    }
}

impl Severities {
    /// `{"error": [{"equals": ["err"]}, {"range": {"min": 3, "max": 4}}, {"range": "5xx"}]}`
    pub fn read(mapping: &Value<'_>) -> Result<Severities, &'static str> {
        let mut levels = Vec::new();
        for (name, criteria) in mapping.pairs().ok_or("the mapping must be a map")? {
            let mut level = Level { name: name.into_owned(), ..Level::default() };
            let criteria = criteria.elements().ok_or("the criteria of a severity must be a list")?;
            criteria.iter().try_for_each(|criterion| level.add(criterion))?;
            levels.push(level);
        }
        Ok(Severities { levels })
    }

    pub fn of<'a>(&self, value: &Value<'_>) -> Result<Value<'a>, Failure> {
        let found = self.levels.iter().find(|level| match value {
            Value::Text(text) => level.equals.iter().any(|word| *word == **text),
            Value::Int(number) => level.ranges.iter().any(|(least, most)| (least..=most).contains(&number)),
            _ => false,
        });
        if !matches!(value, Value::Text(_) | Value::Int(_)) {
            return Err(Failure("a severity is told by a text or a whole number"));
        }
        found.map(|level| text_value(&level.name)).ok_or(Failure("the value means no severity"))
    }
}

fn range(bounds: Value<'_>) -> Result<(i64, i64), &'static str> {
    match &bounds {
        Value::Text(name) => match &**name {
            "2xx" => Ok((200, 299)),
            "3xx" => Ok((300, 399)),
            "4xx" => Ok((400, 499)),
            "5xx" => Ok((500, 599)),
            _ => Err("a range is \"2xx\" to \"5xx\" or a map with `min` and `max`"),
        },
        map if map.is_map() => {
            let bound = |name: &'static str| match bounds.clone().at(&Step::Name(name.into())) {
                Ok(Some(Value::Int(number))) => Ok(number),
                _ => Err("a range needs whole numbers `min` and `max`"),
            };
            Ok((bound("min")?, bound("max")?))
        }
        _ => Err("a range is \"2xx\" to \"5xx\" or a map with `min` and `max`"),
    }
}
