//! Behaviour of one relay, through its two doors, with a made-up clock and a log in a vector.

mod behind;
mod circuits;
mod dead;
mod deliver;
mod fitting;
mod forgotten;
mod fuzz;
mod golden;
mod harness;
mod holes;
mod keep;
mod links;
mod locate;
mod loss;
mod misuse;
mod order;
mod passing;
mod pull;
mod put;
mod receipts;
mod remade;
mod restart;
mod salvage;
mod topology;
mod turns;
mod whereabouts;
