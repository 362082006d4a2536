//! Configuration, commands, tasks, wiring.
