//! Tests of the association.
