//! One process per container: offers slots, starts and watches workers.
