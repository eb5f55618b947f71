package policy

// Version is the version of the law: of Assess, Decide and Next together. Each
// recorded plan carries it, and audit verify decides again only the plans of
// its own version. A record without one is of version 1.
//
// Raise it with any change by which a recorded plan would be decided otherwise
// from the same limits, state and observation: another order of remedies,
// another threshold in code, a hold that comes sooner. A change of the default
// limits is none, because the log holds the limits in force; nor is another
// sentence.
const Version = 1
