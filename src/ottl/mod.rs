//! OTTL conditions: parse, check, evaluate on items.
