//! The accounts of a few customers, as steps name them: by any number.

pub struct Account {
    pub id: String,
    /// A number in [`World::customers`](crate::world::World).
    pub owner: usize,
    pub currency: &'static str,
}

pub struct Accounts {
    pub all: Vec<Account>,
    /// How many customers there are.
    pub customers: usize,
}

impl Accounts {
    /// The place among all accounts of the one that `number` means.
    pub fn place(&self, number: usize) -> usize {
        number % self.all.len()
    }

    pub fn account(&self, number: usize) -> &Account {
        &self.all[self.place(number)]
    }

    /// Who moves what is in the account: its owner, or somebody to whom it does not belong.
    pub fn mover(&self, account: usize, stranger: bool) -> usize {
        (self.account(account).owner + usize::from(stranger)) % self.customers
    }
}
