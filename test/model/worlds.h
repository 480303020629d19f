/*
 * Worlds: N names, S resources at most (the last number is for a stray), what is there at the beginning, up to three
 * goals that come at any moment, and how often each fault may strike.
 */
#define A 1
#define B 2
#define C 4
#define SET 1
#define REMOVE 2
#define BACK 3
#define CANCEL 4

/* is(version, names it refers to) */
#define is(v, d) (1 | ((v) << 1) | ((d) << 3))
#define goal1(a) (a)
#define goal2(a, b) ((a) | ((b) << 6))
#define goal3(a, b, c) ((a) | ((b) << 6) | ((c) << 12))

#if WORLD == 1
/* One name is made. */
#define N 1
#define S 3
#define START 0
#define GOAL1 goal1(is(0, 0))
#define CRASHES 1
#define PAUSES 1
#elif WORLD == 2
/* A chain of three is made. */
#define N 3
#define S 5
#define START 0
#define GOAL1 goal3(is(0, 0), is(0, A), is(0, B))
#define CRASHES 1
#define LOSSES 1
#elif WORLD == 3
/* Two depend on one that is replaced. */
#define N 3
#define S 5
#define START goal3(is(0, 0), is(0, A), is(0, A))
#define GOAL1 goal3(is(2, 0), is(0, A), is(0, A))
#define CRASHES 1
#elif WORLD == 4
/* A change in place, and a replacement meanwhile. */
#define N 1
#define S 3
#define START goal1(is(0, 0))
#define GOALS 2
#define GOAL1 goal1(is(1, 0))
#define GOAL2 goal1(is(2, 0))
#define CRASHES 1
#define PAUSES 1
#elif WORLD == 5
/* What another depends on is replaced, and taken back meanwhile. */
#define N 2
#define S 5
#define START goal2(is(0, 0), is(0, A))
#define GOALS 2
#define GOAL1 goal2(is(2, 0), is(0, A))
#define KIND2 BACK
#define CRASHES 1
#elif WORLD == 6
/* A dependency turns round, both are replaced. */
#define N 2
#define S 5
#define START goal2(is(0, 0), is(0, A))
#define GOAL1 goal2(is(2, B), is(2, 0))
#define CRASHES 1
#define PAUSES 1
#elif WORLD == 7
/* What is being made is to go. */
#define N 2
#define S 4
#define START 0
#define GOALS 2
#define GOAL1 goal2(is(0, 0), is(0, A))
#define KIND2 REMOVE
#define CRASHES 1
#elif WORLD == 8
/* A cancel while a replacement is made. */
#define N 1
#define S 3
#define START goal1(is(0, 0))
#define GOALS 2
#define GOAL1 goal1(is(2, 0))
#define KIND2 CANCEL
#define CRASHES 1
#define PAUSES 1
#elif WORLD == 9
/* An update is aborted, and another goal comes. */
#define N 1
#define S 3
#define START goal1(is(0, 0))
#define GOALS 2
#define GOAL1 goal1(is(1, 0))
#define GOAL2 goal1(is(0, 0))
#define ABORTS 1
#elif WORLD == 10
/* A create is aborted, and a cancel comes. */
#define N 1
#define S 3
#define START 0
#define GOALS 2
#define GOAL1 goal1(is(0, 0))
#define KIND2 CANCEL
#define ABORTS 1
#elif WORLD == 11
/* Two prepare at once, while a call of an older traversal ends. */
#define N 2
#define S 6
#define START 0
#define GOALS 2
#define GOAL1 goal2(is(0, 0), is(0, A))
#define GOAL2 goal2(is(0, 0), 0)
#define PREPARERS 2
#define CRASHES 1
#elif WORLD == 12
/* Three goals and no fault: no timer is needed. */
#define N 2
#define S 6
#define START goal2(is(0, 0), is(0, A))
#define GOALS 3
#define GOAL1 goal2(is(2, 0), is(1, A))
#define GOAL2 goal2(is(2, 0), 0)
#define KIND3 BACK
#elif WORLD == 13
/* A call fails for good; the next goal starts cleanly. */
#define N 2
#define S 5
#define START goal2(is(0, 0), is(0, A))
#define GOALS 2
#define GOAL1 goal2(is(2, 0), is(0, A))
#define KIND2 BACK
#define FAILS 1
#define PAUSES 1
#elif WORLD == 14
/* A replacement is given up, and a call fails that may be tried again. */
#define N 1
#define S 4
#define START goal1(is(0, 0))
#define GOALS 2
#define GOAL1 goal1(is(2, 0))
#define KIND2 BACK
#define ERRORS 1
#define PAUSES 1
#elif WORLD == 15
/* A dependency turns round, one end is replaced, the other stays; then all is to go. */
#define N 2
#define S 5
#define START goal2(is(0, B), is(0, 0))
#define GOALS 2
#define GOAL1 goal2(is(2, 0), is(0, A))
#define KIND2 REMOVE
#define CRASHES 1
#elif WORLD == 16
/* A provider that cannot find, but whose create is idempotent; a pause. */
#define N 1
#define S 4
#define START 0
#define GOALS 2
#define GOAL1 goal1(is(0, 0))
#define GOAL2 goal1(is(2, 0))
#define IDEMPOTENT
#define PAUSES 1
#elif WORLD == 17
/* Rings are lost and come twice, and all is removed and comes back. */
#define N 1
#define S 4
#define START goal1(is(0, 0))
#define GOALS 2
#define KIND1 REMOVE
#define GOAL2 goal1(is(0, 0))
#define CRASHES 1
#define LOSSES 1
#define DOUBLES 1
#elif WORLD == 18
/* A provider that cannot find, but whose create is idempotent; a crash. */
#define N 1
#define S 4
#define START 0
#define GOALS 2
#define GOAL1 goal1(is(0, 0))
#define GOAL2 goal1(is(2, 0))
#define IDEMPOTENT
#define CRASHES 1
#elif WORLD == 19
/* A provider that cannot find, but whose create is idempotent; a pause and a crash. */
#define N 1
#define S 4
#define START 0
#define GOALS 2
#define GOAL1 goal1(is(0, 0))
#define GOAL2 goal1(is(2, 0))
#define IDEMPOTENT
#define CRASHES 1
#define PAUSES 1
#elif WORLD == 20
/* A provider that cannot find, but whose create is idempotent; an abort and a pause. */
#define N 1
#define S 4
#define START 0
#define GOALS 2
#define GOAL1 goal1(is(0, 0))
#define GOAL2 goal1(is(2, 0))
#define IDEMPOTENT
#define ABORTS 1
#define PAUSES 1
#elif WORLD == 21
/* Made, replaced, and to go; everything may go wrong once. */
#define N 1
#define S 4
#define START 0
#define GOALS 3
#define GOAL1 goal1(is(0, 0))
#define GOAL2 goal1(is(2, 0))
#define KIND3 REMOVE
#define CRASHES 1
#define PAUSES 1
#define LOSSES 1
#define DOUBLES 1
#elif WORLD == 22
/* Two depend on one that is replaced, and taken back meanwhile. */
#define N 3
#define S 6
#define START goal3(is(0, 0), is(0, A), is(0, A))
#define GOALS 2
#define GOAL1 goal3(is(2, 0), is(0, A), is(0, A))
#define KIND2 BACK
#define CRASHES 1
#elif WORLD == 23
/* What another depends on is replaced, and taken back meanwhile; a crash, a pause, a copy. */
#define N 2
#define S 5
#define START goal2(is(0, 0), is(0, A))
#define GOALS 2
#define GOAL1 goal2(is(2, 0), is(0, A))
#define KIND2 BACK
#define CRASHES 1
#define PAUSES 1
#define DOUBLES 1
#elif WORLD == 24
/* A dependency turns round, both are replaced, and one goes. */
#define N 2
#define S 7
#define START goal2(is(0, 0), is(0, A))
#define GOALS 2
#define GOAL1 goal2(is(2, B), is(2, 0))
#define GOAL2 goal2(0, is(2, 0))
#define CRASHES 1
#define PAUSES 1
#elif WORLD == 25
/* A change in place, a replacement, and back; a crash and two pauses. */
#define N 1
#define S 4
#define START goal1(is(0, 0))
#define GOALS 3
#define GOAL1 goal1(is(1, 0))
#define GOAL2 goal1(is(2, 0))
#define KIND3 BACK
#define CRASHES 1
#define PAUSES 2
#elif WORLD == 26
/* What is being made is to go. */
#define N 2
#define S 4
#define START 0
#define GOALS 2
#define GOAL1 goal2(is(0, 0), is(0, A))
#define KIND2 REMOVE
#define CRASHES 1
#define PAUSES 1
#elif WORLD == 27
/* A provider that cannot find, but whose create is idempotent: made, replaced, and to go; a crash and two pauses. */
#define N 1
#define S 4
#define START 0
#define GOALS 3
#define GOAL1 goal1(is(0, 0))
#define GOAL2 goal1(is(2, 0))
#define KIND3 REMOVE
#define IDEMPOTENT
#define CRASHES 1
#define PAUSES 2
#endif

#ifndef GOALS
#define GOALS 1
#endif
#ifndef PREPARERS
#define PREPARERS 1
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef PAUSES
#define PAUSES 0
#endif
#ifndef LOSSES
#define LOSSES 0
#endif
#ifndef DOUBLES
#define DOUBLES 0
#endif
#ifndef FAILS
#define FAILS 0
#endif
#ifndef ABORTS
#define ABORTS 0
#endif
#ifndef ERRORS
#define ERRORS 0
#endif
#ifndef KIND1
#define KIND1 SET
#endif
#ifndef KIND2
#define KIND2 SET
#endif
#ifndef KIND3
#define KIND3 SET
#endif
#ifndef GOAL1
#define GOAL1 0
#endif
#ifndef GOAL2
#define GOAL2 0
#endif
#ifndef GOAL3
#define GOAL3 0
#endif

#if N == 1
#define WANTED(g) WANT(g, 0)
#elif N == 2
#define WANTED(g) (WANT(g, 0) | (WANT(g, 1) << 1))
#else
#define WANTED(g) (WANT(g, 0) | (WANT(g, 1) << 1) | (WANT(g, 2) << 2))
#endif
