//! The enum of reasons and its texts, made from one table.

/// Makes the enum and its texts from one table, so that no reason can be without its explanation.
macro_rules! reasons {
    ($($name:ident $kind:ident $meaning:literal $remedy:literal)*) => {
        /// Why something is as it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)*
        }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The wire name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// What it means, for people.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }

            /// What a person does about it.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }

            /// Whether trying again without a change cannot help.
            #[must_use]
            pub const fn is_permanent(self) -> bool {
                match self { $(Self::$name => reasons!(@ $kind),)* }
            }
        }
    };
    (@ permanent) => { true };
    (@ passing) => { false };
}
