//! Community ID of a network flow, version 1: the same for both directions (corelight, Community ID specification).

use std::net::IpAddr;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::otlp::json::base64;
use crate::ottl::value::OttlValue;
use crate::ottl::value::failure::EvalFailure;

const PROTOCOLS: &[(&str, u8)] = &[("ICMP", 1), ("TCP", 6), ("UDP", 17), ("RSVP", 46), ("ICMP6", 58), ("SCTP", 132)];

/// `source ip, source port, destination ip, destination port`, and perhaps the protocol and a seed.
pub fn community_id(arguments: &[OttlValue<'_>]) -> Result<String, EvalFailure> {
    let at = |place: usize| arguments.get(place).unwrap_or(&OttlValue::Nil);
    let (mut near, mut far) = ((address(at(0))?, short(at(1))?), (address(at(2))?, short(at(3))?));
    let protocol = match at(4) {
        OttlValue::Nil => "TCP",
        OttlValue::Text(name) => name,
        _ => return Err(EvalFailure("the protocol is a text")),
    };
    let known = PROTOCOLS.iter().find(|(name, _)| *name == protocol);
    let (_, protocol) = known.ok_or(EvalFailure("the protocol is not ICMP, TCP, UDP, RSVP, ICMP6 or SCTP"))?;
    let seed = if at(5).is_nil() { 0 } else { short(at(5))? };
    // Addresses of four bytes come before those of sixteen.
    let place = |end: &(Vec<u8>, u16)| (end.0.len(), end.0.clone(), end.1);
    if place(&near) > place(&far) {
        std::mem::swap(&mut near, &mut far);
    }
    let mut flow = seed.to_be_bytes().to_vec();
    flow.extend_from_slice(&near.0);
    flow.extend_from_slice(&far.0);
    flow.extend_from_slice(&[*protocol, 0]);
    flow.extend_from_slice(&near.1.to_be_bytes());
    flow.extend_from_slice(&far.1.to_be_bytes());
    let mut id = b"1:".to_vec();
    base64::encode(&mut id, digest(&SHA1_FOR_LEGACY_USE_ONLY, &flow).as_ref());
    String::from_utf8(id).map_err(|_| EvalFailure("the id is no text"))
}

fn address(value: &OttlValue<'_>) -> Result<Vec<u8>, EvalFailure> {
    let OttlValue::Text(text) = value else { return Err(EvalFailure("an address is a text")) };
    let address: IpAddr = text.parse().map_err(|_| EvalFailure("the text is no IP address"))?;
    Ok(match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    })
}

fn short(value: &OttlValue<'_>) -> Result<u16, EvalFailure> {
    match value {
        OttlValue::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    }
    .ok_or(EvalFailure("a port or seed is a whole number up to 65535"))
}
