//! What a payment is for. A table of words decides, the longest match first, and what the holder has said decides before it.
//! What neither knows is `unknown`, and says so: a wrong category is worse than none.

pub mod handlers;

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use shared::clients::transactions::Direction;
use shared::id::{AccountId, CategoryRuleId, TransferId};
use utoipa::ToSchema;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    Salary,
    Benefits,
    InvestmentIncome,
    Refund,
    OtherIncome,
    Housing,
    Utilities,
    Communication,
    Groceries,
    Dining,
    Transport,
    Travel,
    Health,
    Insurance,
    Entertainment,
    Software,
    Shopping,
    Family,
    Education,
    Fees,
    Taxes,
    Loans,
    Savings,
    Donations,
    Cash,
    People,
    Unknown,
}

use Category::{
    Benefits, Cash, Communication, Dining, Donations, Education, Entertainment, Family, Fees, Groceries,
    Health, Housing, Insurance, InvestmentIncome, Loans, OtherIncome, People, Refund, Salary, Savings,
    Shopping, Software, Taxes, Transport, Travel, Unknown, Utilities,
};

impl Category {
    pub const ALL: [Self; 27] = [
        Salary,
        Benefits,
        InvestmentIncome,
        Refund,
        OtherIncome,
        Housing,
        Utilities,
        Communication,
        Groceries,
        Dining,
        Transport,
        Travel,
        Health,
        Insurance,
        Entertainment,
        Software,
        Shopping,
        Family,
        Education,
        Fees,
        Taxes,
        Loans,
        Savings,
        Donations,
        Cash,
        People,
        Unknown,
    ];

    /// As JSON and the database write it.
    pub const fn name(self) -> &'static str {
        match self {
            Salary => "salary",
            Benefits => "benefits",
            InvestmentIncome => "investment_income",
            Refund => "refund",
            OtherIncome => "other_income",
            Housing => "housing",
            Utilities => "utilities",
            Communication => "communication",
            Groceries => "groceries",
            Dining => "dining",
            Transport => "transport",
            Travel => "travel",
            Health => "health",
            Insurance => "insurance",
            Entertainment => "entertainment",
            Software => "software",
            Shopping => "shopping",
            Family => "family",
            Education => "education",
            Fees => "fees",
            Taxes => "taxes",
            Loans => "loans",
            Savings => "savings",
            Donations => "donations",
            Cash => "cash",
            People => "people",
            Unknown => "unknown",
        }
    }

    /// As a sentence writes it.
    pub fn words(self) -> String {
        self.name().replace('_', " ")
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.name() == name)
    }

    /// Whether money that comes in can be of this category, without the holder saying so.
    const fn is_income(self) -> bool {
        matches!(self, Salary | Benefits | InvestmentIncome | Refund | OtherIncome)
    }
}

/// The words that tell, in lower case, each as a whole: of one to three words between spaces.
const WORDS: [(Category, &str); 25] = [
    (
        Salary,
        "salary|payroll|wages|wage|paycheck|pay slip|gehalt|lohn|salaire|nomina|direct deposit",
    ),
    (
        Benefits,
        "pension|social security|unemployment benefit|child benefit|kindergeld|disability benefit|state benefit|housing benefit",
    ),
    (
        InvestmentIncome,
        "interest|dividend|dividends|coupon payment|interest earned",
    ),
    (
        Refund,
        "refund|rebate|cashback|chargeback|reimbursement|erstattung|tax refund",
    ),
    (
        OtherIncome,
        "commission|royalties|royalty|bonus|prize|rent received|invoice|freelance",
    ),
    (
        Housing,
        "rent|mortgage|landlord|miete|loyer|property management|hoa|homeowners association|letting agency|service charge",
    ),
    (
        Utilities,
        "electricity|electric|power company|gas bill|water|waterworks|sewage|heating|energy|utility|utilities|strom|edf|stadtwerke|british gas|con edison|waste disposal",
    ),
    (
        Communication,
        "mobile|phone|phone bill|broadband|internet|vodafone|verizon|t mobile|at t|comcast|xfinity|telekom|o2|orange|telefonica|fiber|fibre|sim card",
    ),
    (
        Groceries,
        "supermarket|grocery|groceries|market|aldi|lidl|tesco|sainsburys|rewe|edeka|walmart|kroger|safeway|whole foods|trader joes|carrefour|mercadona|costco|publix|bakery|butcher|greengrocer|meal box|hellofresh|instacart",
    ),
    (
        Dining,
        "restaurant|cafe|coffee|starbucks|mcdonalds|burger king|kfc|subway sandwiches|pizza|pizzeria|bistro|bar|pub|diner|doordash|uber eats|deliveroo|grubhub|just eat|takeaway|lunch|dinner|brunch|sushi|kebab|dunkin|chipotle|pret",
    ),
    (
        Transport,
        "taxi|uber|lyft|bolt|bus|tram|metro|subway|train|railway|rail|amtrak|transit|ticket|tickets|parking|fuel|petrol|gas station|shell|esso|exxon|chevron|bp|toll|car wash|garage|bvg|transport for london|bike share|scooter",
    ),
    (
        Travel,
        "hotel|airline|airlines|airways|airbnb|booking com|expedia|flight|flights|hostel|lufthansa|ryanair|easyjet|delta air|marriott|hilton|car rental|hertz|cruise|travel agency",
    ),
    (
        Health,
        "pharmacy|doctor|dentist|hospital|clinic|apotheke|medical|optician|physiotherapy|gym|fitness|yoga|cvs|walgreens|boots|therapist|health centre|swimming pool",
    ),
    (
        Insurance,
        "insurance|versicherung|assurance|allianz|geico|axa|aviva|state farm|progressive insurance|life cover|home insurance|car insurance|insurance premium",
    ),
    (
        Entertainment,
        "netflix|spotify|hulu|disney plus|disney|hbo|hbo max|prime video|amazon prime video|youtube premium|apple music|deezer|tidal|audible|cinema|theatre|theater|concert|steam games|playstation|xbox|nintendo|twitch|museum|zoo|streaming|magazine|newspaper|new york times|paramount plus|crunchyroll",
    ),
    (
        Software,
        "icloud|google one|dropbox|microsoft 365|adobe|github|1password|openai|chatgpt|notion|zoom|software|hosting|domain|antivirus|nordvpn|vpn|cloud storage|canva|slack",
    ),
    (
        Shopping,
        "amazon|ebay|ikea|zalando|h m|zara|clothing|shoes|electronics|best buy|apple store|hardware store|home depot|furniture|department store|target|etsy|bookshop|bookstore|toys|florist|jewellery|media markt|decathlon|shop|store|furniture store",
    ),
    (
        Family,
        "childcare|daycare|nursery|kindergarten|babysitter|nanny|pet|vet|veterinary|alimony|child support|pocket money|school lunch",
    ),
    (
        Education,
        "tuition|university|college|school|course|courses|udemy|coursera|language school|textbooks|library|music lessons|student union",
    ),
    (
        Fees,
        "fee|fees|bank charge|overdraft|overdraft fee|account fee|card fee|late fee|maintenance fee|commission fee",
    ),
    (
        Taxes,
        "tax|taxes|irs|hmrc|finanzamt|council tax|property tax|income tax|customs duty|vat payment",
    ),
    (
        Loans,
        "loan|loan repayment|credit card payment|student loan|car loan|instalment|installment|klarna|afterpay|car finance|lease|leasing",
    ),
    (
        Savings,
        "savings|investment|investing|brokerage|etf|vanguard|fidelity|retirement|isa|401k|pension plan|savings plan|deposit account|robinhood|emergency fund",
    ),
    (
        Donations,
        "donation|charity|red cross|unicef|oxfam|church|tithe|greenpeace|wwf|food bank|fundraiser",
    ),
    (
        Cash,
        "atm|cash withdrawal|cash|cashpoint|geldautomat|cash machine",
    ),
];

const MOST_WORDS: usize = 3;

static BY_WORDS: LazyLock<HashMap<&str, Category>> = LazyLock::new(|| {
    let of = |(category, words): &(Category, &'static str)| {
        let category = *category;
        words
            .split('|')
            .map(move |word| (word, category))
            .collect::<Vec<_>>()
    };
    WORDS.iter().flat_map(of).collect()
});

/// A description in lower case, words and numbers only, with one space between them.
pub fn plain(description: &str) -> String {
    let lower = description.to_lowercase().replace(['\'', '’'], "");
    let words = lower.split(|letter: char| !letter.is_alphanumeric());
    words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

const MONTHS: [&str; 23] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "jan",
    "feb",
    "mar",
    "apr",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
];

/// What stays the same from one payment to the next: without numbers, references and months.
pub fn label(description: &str) -> String {
    let plain = plain(description);
    let stays = |word: &&str| !word.contains(|letter: char| letter.is_numeric()) && !MONTHS.contains(word);
    plain
        .split(' ')
        .filter(stays)
        .take(5)
        .collect::<Vec<_>>()
        .join(" ")
}

/// What the table says.
fn from_table(description: &str, direction: Direction) -> Category {
    let plain = plain(description);
    let words: Vec<&str> = plain.split(' ').collect();
    let phrases = (1..=MOST_WORDS).flat_map(|length| words.windows(length).map(|phrase| phrase.join(" ")));
    let found = phrases.filter_map(|phrase| Some((phrase.len(), *BY_WORDS.get(phrase.as_str())?)));
    let fits = |(_, category): &(usize, Category)| category.is_income() == (direction == Direction::Credit);
    found
        .filter(fits)
        .max_by_key(|(length, _)| *length)
        .map_or(Unknown, |(_, category)| category)
}

/// What a rule of the holder is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// This one transfer.
    TransferId(TransferId),
    /// Each payment from or to this account.
    CounterpartyAccountId(AccountId),
    /// Each payment with these words in its description, next to each other: 1 to 100 characters.
    Words(RuleWords),
}

/// In the form of [`plain`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, min_length = 1, max_length = 100, example = "corner shop")]
pub struct RuleWords(String);

impl RuleWords {
    pub const MAX: usize = 100;

    pub fn parse(text: &str) -> Option<Self> {
        let plain = plain(text);
        let fits = !plain.is_empty() && text.chars().count() <= Self::MAX && plain.len() <= 4 * Self::MAX;
        fits.then_some(Self(plain))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for RuleWords {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom("expected 1 to 100 characters with a letter or a digit"))
    }
}

/// What the holder has said. It wins over the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CategoryRule {
    pub id: CategoryRuleId,
    pub subject: Subject,
    pub category: Category,
}

/// The holder's rules, ready to be asked.
#[derive(Debug, Default)]
pub struct Categories {
    by_transfer: HashMap<TransferId, Category>,
    by_counterparty: HashMap<AccountId, Category>,
    /// With a space at both ends; longest first.
    by_words: Vec<(String, Category)>,
}

/// Who said of which category a payment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CategorySource {
    /// The holder, by a rule.
    You,
    /// The words of its description.
    Description,
    /// Nobody: the category is `unknown`.
    Nobody,
}

impl Categories {
    pub fn new(rules: &[CategoryRule]) -> Self {
        let mut categories = Self::default();
        for rule in rules {
            match &rule.subject {
                Subject::TransferId(id) => categories.by_transfer.extend([(*id, rule.category)]),
                Subject::CounterpartyAccountId(id) => {
                    categories.by_counterparty.extend([(*id, rule.category)])
                }
                Subject::Words(words) => {
                    let words = format!(" {} ", words.as_str());
                    categories.by_words.push((words, rule.category));
                }
            }
        }
        categories
            .by_words
            .sort_by(|one, other| other.0.len().cmp(&one.0.len()).then_with(|| one.0.cmp(&other.0)));
        categories
    }

    /// The nearest rule wins: the transfer's own, then the longest words, then the counterparty's, then the table.
    pub fn of(
        &self,
        transfer: TransferId,
        counterparty: AccountId,
        direction: Direction,
        description: &str,
    ) -> (Category, CategorySource) {
        let by_words = || {
            if self.by_words.is_empty() {
                return None;
            }
            let padded = format!(" {} ", plain(description));
            let found = self
                .by_words
                .iter()
                .find(|(words, _)| padded.contains(words.as_str()));
            found.map(|(_, category)| *category)
        };
        let said = self.by_transfer.get(&transfer).copied();
        let said = said
            .or_else(by_words)
            .or_else(|| self.by_counterparty.get(&counterparty).copied());
        match said.map_or_else(
            || (from_table(description, direction), CategorySource::Description),
            |it| (it, CategorySource::You),
        ) {
            (Unknown, CategorySource::Description) => (Unknown, CategorySource::Nobody),
            known => known,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(description: &str) -> Category {
        from_table(description, Direction::Debit)
    }

    #[test]
    fn the_longest_words_decide() {
        for (description, category) in [
            ("UBER *EATS 8005928996", Dining),
            ("UBER *TRIP HELP.UBER.COM", Transport),
            ("Amazon Prime Video", Entertainment),
            ("AMAZON.DE 304-1", Shopping),
            ("Car insurance premium 2026", Insurance),
            ("H&M 0231", Shopping),
            ("Sainsbury's S/MKT", Groceries),
            ("Zorblat Plus", Unknown),
            ("", Unknown),
            ("carpet", Unknown),
        ] {
            assert_eq!(of(description), category, "{description}");
        }
    }

    #[test]
    fn money_that_comes_in_is_not_spent_and_the_other_way_round() {
        assert_eq!(from_table("Salary May", Direction::Credit), Salary);
        assert_eq!(of("Salary May"), Unknown);
        assert_eq!(from_table("Rent", Direction::Credit), Unknown);
    }

    #[test]
    fn the_holder_wins_and_the_nearest_rule_first() {
        let (transfer, account) = (TransferId::new(), AccountId::new());
        let rule = |subject, category| CategoryRule {
            id: CategoryRuleId::new(),
            subject,
            category,
        };
        let words = |text: &str| Subject::Words(RuleWords::parse(text).unwrap());
        let mut rules = vec![rule(Subject::CounterpartyAccountId(account), People)];
        let ask = |rules: &[CategoryRule]| {
            Categories::new(rules).of(transfer, account, Direction::Debit, "Corner Shop, Netflix 12")
        };
        assert_eq!(ask(&[]), (Entertainment, CategorySource::Description));
        assert_eq!(ask(&rules), (People, CategorySource::You));
        rules.push(rule(words("corner"), Groceries));
        rules.push(rule(words("CORNER shop"), Shopping));
        assert_eq!(ask(&rules).0, Shopping);
        rules.push(rule(words("orner"), Taxes));
        assert_eq!(ask(&rules).0, Shopping, "words are whole");
        rules.push(rule(Subject::TransferId(transfer), Unknown));
        assert_eq!(ask(&rules), (Unknown, CategorySource::You));
    }

    #[test]
    fn each_word_stands_in_the_table_once_and_is_found() {
        let mut seen = HashMap::new();
        for (category, words) in WORDS {
            for word in words.split('|') {
                assert_eq!(plain(word), word, "as descriptions are read");
                assert!(word.split(' ').count() <= MOST_WORDS, "{word}");
                assert!(seen.insert(word, category).is_none(), "{word} is there twice");
            }
        }
        assert!(
            Category::ALL
                .iter()
                .all(|it| Category::parse(it.name()) == Some(*it))
        );
    }

    #[test]
    fn a_label_is_what_stays_the_same() {
        assert_eq!(label("NETFLIX.COM 866-579-7172"), "netflix com");
        assert_eq!(label("Rent November 2026"), "rent");
        assert_eq!(label("4711"), "");
    }
}
