//! What schedulers take from us: placement hints in their words.
