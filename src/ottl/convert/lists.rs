//! Converters of lists and of what lists decide: `Sort`, `SliceToMap`, `ContainsValue`, `Index`, `IsInCIDR` and
//! `ParseSeverity`.

use std::cmp::Ordering;
use std::net::IpAddr;

use crate::ottl::convert::made::{object, text_value};
use crate::ottl::syntax::parse::Compare;
use crate::ottl::value::failure::EvalFailure;
use crate::ottl::value::{OttlValue, ValueStep};

const TOO_LONG: EvalFailure = EvalFailure("the list has too many elements");

pub fn contains<'a>(list: &OttlValue<'_>, wanted: &OttlValue<'_>) -> Result<OttlValue<'a>, EvalFailure> {
    let elements = list.elements().ok_or(TOO_LONG)?;
    Ok(OttlValue::Bool(elements.iter().any(|element| element.compare(Compare::Equal, wanted))))
}

/// The place of a part in a text or of an element in a list; -1 when it is not there.
pub fn index<'a>(whole: &OttlValue<'_>, wanted: &OttlValue<'_>) -> Result<OttlValue<'a>, EvalFailure> {
    let found = match (whole, wanted) {
        (OttlValue::Text(whole), OttlValue::Text(part)) => whole.find(&**part),
        (OttlValue::Text(_), _) => return Err(EvalFailure("a text is looked for in a text")),
        (list, wanted) if list.is_list() => {
            let elements = list.elements().ok_or(TOO_LONG)?;
            elements.iter().position(|element| element.compare(Compare::Equal, wanted))
        }
        _ => return Err(EvalFailure("expected a text or a list")),
    };
    Ok(OttlValue::Int(found.map_or(-1, |at| at as i64)))
}

/// Numbers by size; with a text, truth value or nil among them, all by their texts. Other lists stay as they are.
pub fn sort<'a>(list: OttlValue<'a>, descending: bool) -> Result<OttlValue<'a>, EvalFailure> {
    if !list.is_list() {
        return Err(EvalFailure("expected a list"));
    }
    let mut elements = list.elements().ok_or(TOO_LONG)?;
    let texts = elements.iter().any(|value| matches!(value, OttlValue::Text(_) | OttlValue::Bool(_) | OttlValue::Nil));
    let others = elements.iter().any(|value| {
        !matches!(
            value,
            OttlValue::Text(_) | OttlValue::Bool(_) | OttlValue::Nil | OttlValue::Int(_) | OttlValue::Float(_)
        )
    });
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
        return Ok(OttlValue::List(keyed.into_iter().map(|(_, element)| element).collect()));
    }
    let number = |value: &OttlValue<'_>| match value {
        OttlValue::Int(number) => *number as f64,
        OttlValue::Float(number) => *number,
        _ => f64::NAN,
    };
    elements.sort_by(|a, b| match (a, b) {
        (OttlValue::Int(a), OttlValue::Int(b)) => turn(a.cmp(b)),
        // What is no number comes before all numbers.
        (a, b) => {
            let (a, b) = (number(a), number(b));
            turn(a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())))
        }
    });
    Ok(OttlValue::List(elements))
}

/// A map of the list's elements, or of what stands under a path in each, by their place or by what stands under a path.
pub fn slice_to_map<'a>(
    list: &OttlValue<'a>,
    key: &OttlValue<'_>,
    value: &OttlValue<'_>,
) -> Result<OttlValue<'a>, EvalFailure> {
    let mut pairs = Vec::new();
    for (at, element) in list.elements().ok_or(TOO_LONG)?.into_iter().enumerate() {
        if (!key.is_nil() || !value.is_nil()) && !element.is_map() {
            return Err(EvalFailure("an element of the list is not a map"));
        }
        let name = match key {
            OttlValue::Nil => at.to_string(),
            path => match under(&element, path)? {
                OttlValue::Text(name) => name.into_owned(),
                _ => return Err(EvalFailure("the key of an element is not a text")),
            },
        };
        let made = if value.is_nil() { element } else { under(&element, value)? };
        pairs.push((name, made));
    }
    object(pairs)
}

fn under<'a>(element: &OttlValue<'a>, path: &OttlValue<'_>) -> Result<OttlValue<'a>, EvalFailure> {
    const MISSING: EvalFailure = EvalFailure("an element of the list has no such path");
    let mut found = element.clone();
    let path = path.elements().filter(|path| !path.is_empty()).ok_or(EvalFailure("a path of no names"))?;
    for name in path {
        let OttlValue::Text(name) = name else { return Err(MISSING) };
        found = found.at(&ValueStep::Name(name)).ok().flatten().ok_or(MISSING)?;
    }
    Ok(found)
}

/// A network: an address and how many of its bits count.
#[derive(Clone, Copy, Debug)]
pub struct IpNetwork {
    address: IpAddr,
    bits: u32,
}

impl IpNetwork {
    pub fn parse(text: &str) -> Option<IpNetwork> {
        let (address, bits) = text.split_once('/')?;
        let plain = !bits.is_empty() && bits.len() < 4 && bits.bytes().all(|c| c.is_ascii_digit());
        let (address, bits): (IpAddr, u32) = (address.parse().ok()?, plain.then(|| bits.parse().ok())??);
        (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some(IpNetwork { address, bits })
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

pub fn is_in_cidr(address: &str, networks: &OttlValue<'_>) -> Result<bool, EvalFailure> {
    let Ok(address) = address.parse::<IpAddr>() else { return Ok(false) };
    for network in networks.elements().ok_or(TOO_LONG)? {
        let OttlValue::Text(network) = network else { return Err(EvalFailure("expected a string")) };
        let network = IpNetwork::parse(&network).ok_or(EvalFailure("the text is not a network such as 10.0.0.0/8"))?;
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
    fn add(&mut self, criterion: &OttlValue<'_>) -> Result<(), &'static str> {
        if !criterion.is_map() {
            return Err("a criterion of a severity must be a map");
        }
        let part = |name: &'static str| criterion.clone().at(&ValueStep::Name(name.into())).ok().flatten();
        if let Some(words) = part("equals") {
            let words = words.elements().ok_or("`equals` must be a list")?;
            let word = |word: OttlValue<'_>| match word {
                OttlValue::Text(word) => Ok(word.into_owned()),
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
    pub fn read(mapping: &OttlValue<'_>) -> Result<Severities, &'static str> {
        let mut levels = Vec::new();
        for (name, criteria) in mapping.pairs().ok_or("the mapping must be a map")? {
            let mut level = Level { name: name.into_owned(), ..Level::default() };
            let criteria = criteria.elements().ok_or("the criteria of a severity must be a list")?;
            criteria.iter().try_for_each(|criterion| level.add(criterion))?;
            levels.push(level);
        }
        Ok(Severities { levels })
    }

    pub fn of<'a>(&self, value: &OttlValue<'_>) -> Result<OttlValue<'a>, EvalFailure> {
        let found = self.levels.iter().find(|level| match value {
            OttlValue::Text(text) => level.equals.iter().any(|word| *word == **text),
            OttlValue::Int(number) => level.ranges.iter().any(|(least, most)| (least..=most).contains(&number)),
            _ => false,
        });
        if !matches!(value, OttlValue::Text(_) | OttlValue::Int(_)) {
            return Err(EvalFailure("a severity is told by a text or a whole number"));
        }
        found.map(|level| text_value(&level.name)).ok_or(EvalFailure("the value means no severity"))
    }
}

fn range(bounds: OttlValue<'_>) -> Result<(i64, i64), &'static str> {
    match &bounds {
        OttlValue::Text(name) => match &**name {
            "2xx" => Ok((200, 299)),
            "3xx" => Ok((300, 399)),
            "4xx" => Ok((400, 499)),
            "5xx" => Ok((500, 599)),
            _ => Err("a range is \"2xx\" to \"5xx\" or a map with `min` and `max`"),
        },
        map if map.is_map() => {
            let bound = |name: &'static str| match bounds.clone().at(&ValueStep::Name(name.into())) {
                Ok(Some(OttlValue::Int(number))) => Ok(number),
                _ => Err("a range needs whole numbers `min` and `max`"),
            };
            Ok((bound("min")?, bound("max")?))
        }
        _ => Err("a range is \"2xx\" to \"5xx\" or a map with `min` and `max`"),
    }
}
