/*
 * The protocol core of Homeostat as built, for exhaustive search with Spin. README.md in this folder says what each part
 * stands for, what is left out, and how to run it.
 *
 * Every atomic step below is one Lua script, or one thing that happens outside (an effect, a timer, a crash). What lies
 * between two steps is a point at which anything else may happen. A world (worlds.h) gives the goals and the faults;
 * M_… leaves out or weakens one item of the protocol, and must be found.
 */
#include "worlds.h"

/* --- bits ------------------------------------------------------------------------------------------------------- */

#define BIT(x) (1 << (x))
#define HAS(m, x) (((m) >> (x)) & 1)

/* A goal: six bits per name: wanted, version (2), which names it refers to (3). Another high bit is a replacement. */
#define WANT(g, n) HAS(g, 6 * (n))
#define VERS(g, n) (((g) >> (6 * (n) + 1)) & 3)
#define DEPS(g, n) (((g) >> (6 * (n) + 3)) & 7)

/* Inputs: five bits per name that is referred to: 1 + 4 * resource + version of its output. */
#define ONE(x) ((x) > 0 -> BIT(((x) - 1) >> 2) : 0)
#define NEEDS(x) (ONE((x) & 31) | ONE(((x) >> 5) & 31) | ONE(((x) >> 10) & 31))

/* Nodes: u:NAME is the name's number, k:ID is N + the resource's number. */
#define K(s) (N + (s))
#define ISU(node) ((node) < N)
#define RES(node) (ISU(node) -> G.ch[node] : (node) - N)
#define STRAY (S - 1)
#define TOKEN(r) ((r) == STRAY -> strayOf : (r))

/* --- state ------------------------------------------------------------------------------------------------------ */

#define Declared 0
#define Creating 1
#define Ready 2
#define Updating 3
#define Replaced 4
#define Deleting 5
#define Deleted 6
#define Uncertain 7
#define Retrying 8
#define Failed 9

#define CREATE 1
#define UPDATE 2
#define DELETE 3

#define DEAD 3

/* One incarnation: its record in Redis, and its thing in the real world (count, version, inputs). */
typedef Resource {
  unsigned rec : 2;      /* 0 none yet, 1 record, 2 tombstone, 3 none any more (no record is left behind) */
  unsigned name : 2;
  unsigned st : 4;
  unsigned phys : 1;
  unsigned unsure : 1;
  unsigned unsureBefore : 1;
  unsigned dirty : 1;
  unsigned doomed : 1;
  unsigned v : 2;
  unsigned tv : 2;
  unsigned inp : 15;
  unsigned tinp : 15;
  unsigned req : 7;
  unsigned rpl : 3;      /* 1 + what replaced it */
  unsigned intent : 2;
  unsigned dl : 2;       /* deadline: 0 none, 1 to come, 2 passed */
  unsigned waiting : 1;
  unsigned handed : 1;
  unsigned ops : 1;
  unsigned caller : 2;   /* 1 + worker whose visit stored the intent, as long as that visit lasts */
  unsigned holder : 2;   /* 0 nobody, 1 + worker, DEAD */
  unsigned live : 1;     /* the lease has not run out */
  unsigned mark : 4;     /* 1 + node of the current traversal */
  unsigned things : 2;
  unsigned spent : 1;    /* its thing was there and is deleted */
  unsigned rv : 2;
  unsigned rinp : 15
};
Resource R[S];

/* A plan; G is the open one. */
typedef Graph {
  unsigned t : 2;
  unsigned ph : 2;
  unsigned u : 3;        /* names with an update node */
  unsigned k : 7;        /* resources with a cleanup node */
  byte ch[N];            /* resource of each name */
  byte alt[N];           /* incarnations that could be taken back */
  byte kp[S]             /* cleanups that come before a cleanup */
};
Graph G;
Graph P[PREPARERS];

/* A visit, with its call. */
#define IDLE 0
#define COMMIT 1
#define CALL 2
#define FLY 3
#define FIND 4
#define FOUND 5
#define HAND 6
#define PUBLISH 7
#define END 8

#define INTENT 1
#define PASS 2
#define GONE 3
#define REPLACE 4
#define ADOPT 5
#define SEEK 6
#define FAIL 7
#define WAIT 8
#define RELEASE 9
#define MADE 10
#define OVER 11

typedef Visit {
  unsigned ph : 4;
  unsigned nd : 4;
  unsigned cur : 1;      /* claimed for a node, not only to end a call */
  unsigned wt : 2;
  unsigned r : 3;
  unsigned cmd : 4;
  unsigned op : 2;
  unsigned dec : 1;      /* a decision, not an outcome */
  unsigned tried : 1;
  unsigned late : 1;
  unsigned know : 1;     /* has taken up what was handed over */
  unsigned alt : 3;
  unsigned landed : 1;
  unsigned over : 1;     /* the call's deadline has passed */
  unsigned slow : 1;     /* its lease ran out under it */
  unsigned endn : 1;     /* the node is to be ended */
  unsigned v : 2;
  unsigned inp : 15;
  unsigned rings : 10
};
Visit W[2];

/* A call whose caller is gone, and which may take effect until its deadline. */
typedef Call { unsigned op : 2; unsigned r : 3; unsigned v : 2; unsigned inp : 15 };
Call orphan;

unsigned trav : 2;
unsigned opened : 2;     /* 0 not yet, 1 open, 2 cancelled */
unsigned isDelete : 1;
unsigned faulted : 1;    /* only then timers are needed at all */
unsigned strayOf : 3;
unsigned crashes : 2;
unsigned pauses : 2;
unsigned losses : 2;
unsigned doubles : 2;
unsigned fails : 2;
unsigned aborts : 2;
unsigned errors : 2;
short pend, done, failed, mq, mr;
byte left;               /* nodes that are not done */
int goal, lastGood;
/* What was chosen, within one atomic step. */
byte pick, step;

#define ME W[w]
#define MINE R[W[w].r]
#define CURRENT (ME.cur && ME.wt == trav && opened == 1)
#define ABSENT(s) (R[s].rec == 0 || R[s].rec == 3)
#define LEASED(s) (R[s].holder != 0 && R[s].live)
#define NODES (G.u | (G.k << N))

/* Scratch inside of one step. */
hidden byte i, j, n, best, rank, bestRank, fit, result, next, waits;
hidden int x, inputs, again, planned;
hidden int reach[S], after[S];

/* --- plan.ts ---------------------------------------------------------------------------------------------------- */

#if N == 1
#define isReferred(g, id) (g.ch[0] == id && HAS(g.u, 0))
#elif N == 2
#define isReferred(g, id) ((g.ch[0] == id && HAS(g.u, 0)) || (g.ch[1] == id && HAS(g.u, 1)))
#else
#define isReferred(g, id) ((g.ch[0] == id && HAS(g.u, 0)) || (g.ch[1] == id && HAS(g.u, 1)) || (g.ch[2] == id && HAS(g.u, 2)))
#endif
#if PREPARERS == 1
#define isPlanned(id) isReferred(P[0], id)
#else
#define isPlanned(id) (isReferred(P[0], id) || isReferred(P[1], id))
#endif

/* The lowest number that nothing refers to. The last one is kept for strays. */
inline newId(id) {
  id = 0;
  do
  :: id < STRAY && (R[id].rec != 0 || R[id].things != 0 || isReferred(G, id) || isPlanned(id)) -> id++
  :: else -> break
  od;
  assert(id < STRAY)
}
inline inputsOf(g, to, nm) {
  inputs = 0;
  j = 0;
  do
  :: j < N ->
    if
    :: HAS(DEPS(to, nm), j) -> inputs = inputs | ((1 + 4 * g.ch[j] + R[g.ch[j]].v) << (5 * j))
    :: else
    fi;
    j++
  :: else -> break
  od
}

#define CANDIDATE(s, nm) (R[s].rec == 1 && s != STRAY && R[s].name == nm && !R[s].doomed && R[s].st != Deleting && R[s].st != Deleted)
#define HEALTHY(s) (R[s].st == Ready || R[s].st == Replaced)

inline chooseFor(g, to, nm) {
  inputsOf(g, to, nm);
  best = S;
  bestRank = 9;
  g.alt[nm] = 0;
  i = 0;
  do
  :: i < S ->
    if
    :: CANDIDATE(i, nm) ->
      if
      :: HEALTHY(i) && !R[i].dirty && R[i].v == VERS(to, nm) -> rank = (R[i].inp == inputs -> 0 : 1)
      :: else ->
        rank = (R[i].st == Declared -> 3 : (R[i].st == Failed -> (R[i].phys -> 4 : 5) : 2))
      fi;
      if
      :: rank <= bestRank -> best = i; bestRank = rank
      :: else
      fi;
      if
      :: R[i].phys -> g.alt[nm] = g.alt[nm] | BIT(i)
      :: else
      fi
    :: else
    fi;
    i++
  :: else -> break
  od;
  if
  :: best == S ->
    newId(best);
    g.u = g.u | BIT(nm)
  :: else ->
    if
    :: (DEPS(to, nm) & g.u) != 0 || R[best].st != Ready || R[best].dirty || R[best].intent != 0 || R[best].v != VERS(to, nm) || R[best].inp != inputs ->
      g.u = g.u | BIT(nm)
    :: else
    fi
  fi;
  g.alt[nm] = g.alt[nm] & ~BIT(best);
  g.ch[nm] = best
}

inline clear(g) {
  g.u = 0;
  g.k = 0;
  g.t = 0;
  g.ph = 0;
  i = 0;
  do
  :: i < N -> g.ch[i] = 0; g.alt[i] = 0; i++
  :: else -> break
  od;
  i = 0;
  do
  :: i < S -> g.kp[i] = 0; i++
  :: else -> break
  od
}

inline plan(g, to) {
  clear(g);
  /* Names, dependencies first. */
  x = 0;
  do
  :: x != WANTED(to) ->
    n = 0;
    do
    :: n < N ->
      if
      :: WANT(to, n) && !HAS(x, n) && (DEPS(to, n) & ~x) == 0 -> chooseFor(g, to, n); x = x | BIT(n)
      :: else
      fi;
      n++
    :: else -> break
    od
  :: else -> break
  od;
  /* Cleanups: whatever is not in line. */
  i = 0;
  do
  :: i < S ->
    if
    :: R[i].rec == 1 && (i == STRAY || !WANT(to, R[i].name) || g.ch[R[i].name] != i || (HAS(g.u, R[i].name) && !(R[i].st == Declared && R[i].intent == 0))) ->
      g.k = g.k | BIT(i)
    :: else
    fi;
    i++
  :: else -> break
  od;
  /* What requires it, and (unless that closes a cycle) what replaced it, goes before. */
  i = 0;
  do
  :: i < S ->
    after[i] = 0;
    j = 0;
    do
    :: j < S ->
      if
      :: HAS(g.k, i) && HAS(g.k, j) && i != j && HAS(R[j].req, i) -> g.kp[i] = g.kp[i] | BIT(j)
      :: else
      fi;
      j++
    :: else -> break
    od;
    if
    :: HAS(g.k, i) && R[i].rpl != 0 && HAS(g.k, R[i].rpl - 1) -> after[i] = BIT(R[i].rpl - 1)
    :: else
    fi;
    reach[i] = g.kp[i] | after[i];
    i++
  :: else -> break
  od;
  n = 0;
  do
  :: n < S ->
    i = 0;
    do
    :: i < S ->
      if
      :: HAS(reach[i], n) -> reach[i] = reach[i] | reach[n]
      :: else
      fi;
      i++
    :: else -> break
    od;
    n++
  :: else -> break
  od;
  i = 0;
  do
  :: i < S ->
    if
#ifdef M_KEEP_CYCLE
    :: after[i] != 0 -> g.kp[i] = g.kp[i] | after[i]
#else
    :: after[i] != 0 && !HAS(reach[R[i].rpl - 1], i) -> g.kp[i] = g.kp[i] | after[i]
#endif
    :: else
    fi;
    i++
  :: else -> break
  od
}

/* --- sync points ------------------------------------------------------------------------------------------------ */

#ifdef M_CLEANUP_FIRST
#define PREDS(node) (ISU(node) -> (DEPS(goal, node) & G.u) : (G.kp[(node) - N] << N))
#else
#define PREDS(node) (ISU(node) -> (DEPS(goal, node) & G.u) : ((G.u & BIT(R[(node) - N].name)) | (G.kp[(node) - N] << N)))
#endif

inline reachGoal() {
  if
  :: !isDelete -> lastGood = goal
  :: else
  fi
}

/* lib/finish.lua and lib/pass.lua: done, once; whoever is ready now is pending and to be rung for. */
inline finish(w) {
  if
  :: !HAS(done, ME.nd) ->
    done = done | BIT(ME.nd);
    left--;
    if
    :: ISU(ME.nd) && (G.u & ~done) == 0 -> reachGoal()
    :: else
    fi;
    passOn(w)
  :: else
  fi
}

inline passOn(w) {
  i = 0;
  do
  :: i < N + S ->
    if
    :: HAS(NODES, i) && !HAS(done, i) && !HAS(failed, i) ->
      if
      :: HAS(PREDS(i), ME.nd) && (PREDS(i) & ~done) == 0 ->
        pend = pend | BIT(i);
        ME.rings = ME.rings | BIT(i)
      :: else
      fi
    :: else
    fi;
    i++
  :: else -> break
  od
}

/* --- a visit ---------------------------------------------------------------------------------------------------- */

/* What commit.lua answers when it refuses. */
#define FENCED 1
#define STALE 2
#define REQUIRED 3
#define HANDED 4

/*
 * What follows from a step, at its end (conclude): take up what was handed over, begin, decide, finish the node, let go,
 * publish what was answered.
 */
#define STAY 0
#define LEAVE 1
#define SPEAK 2
#define LETGO 3
#define DONE 4
#define GONEBY 5
#define DECIDE 6
#define GOON 7
#define TAKE 8
#define BEGIN 9

inline command(w, what, decision) {
  ME.ph = COMMIT;
  ME.cmd = what;
  ME.dec = decision
}

inline call(w, what, repeat, decision) {
  ME.op = what;
  ME.tried = repeat;
  command(w, INTENT, decision)
}

/* What an earlier create did is not known; one that was aborted may take effect until its deadline. */
inline unsureCreate(w) {
#ifdef IDEMPOTENT
  if
#ifndef M_REPEAT_AT_ONCE
  :: MINE.dl == 1 -> command(w, WAIT, 0)
#endif
  :: else -> call(w, CREATE, 1, 1)
  fi
#else
  command(w, SEEK, 0)
#endif
}

/* What the node is for: machines/resource.ts, with the facts of update-facts.ts. */
inline decide(w) {
  if
  :: ISU(ME.nd) ->
    inputsOf(G, goal, ME.nd);
    ME.v = VERS(goal, ME.nd);
    ME.inp = inputs;
    if
    :: !MINE.phys -> fit = 1
    :: MINE.phys && (MINE.v >> 1) != (ME.v >> 1) -> fit = 2
    :: else -> fit = (MINE.v == ME.v && MINE.inp == ME.inp -> 0 : 1)
    fi;
    if
    :: MINE.st == Declared -> call(w, CREATE, 0, 1)
    :: MINE.st == Uncertain || ((MINE.st == Retrying || MINE.st == Failed) && MINE.unsure) ->
      unsureCreate(w)
    :: (MINE.st == Retrying || MINE.st == Failed) && !MINE.unsure && !MINE.phys -> call(w, CREATE, 0, 1)
    :: else ->
      if
      :: fit == 2 ->
        best = S;
        i = 0;
        do
        :: i < S ->
          if
          :: best == S && HAS(G.alt[ME.nd], i) && R[i].rec == 1 && R[i].intent == 0 && !R[i].handed && HEALTHY(i) && !R[i].dirty && R[i].v == ME.v && R[i].inp == ME.inp -> best = i
          :: else
          fi;
          i++
        :: else -> break
        od;
        if
        :: best < S -> ME.alt = best; command(w, ADOPT, 1)
        :: else -> command(w, REPLACE, 1)
        fi
      :: fit == 0 && HEALTHY(ME.r) && !MINE.dirty -> command(w, PASS, 1)
      :: else -> call(w, UPDATE, 0, 1)
      fi
    fi
  :: else ->
    if
    :: HAS(G.u, MINE.name) && ME.r != STRAY && G.ch[MINE.name] == ME.r -> command(w, PASS, 1)
    :: else ->
      if
      :: MINE.st == Declared || MINE.st == Deleted -> command(w, GONE, (MINE.st == Declared -> 1 : 0))
      :: MINE.st == Uncertain || ((MINE.st == Retrying || MINE.st == Failed) && MINE.unsure) ->
        unsureCreate(w)
      :: (MINE.st == Retrying || MINE.st == Failed) && !MINE.unsure && !MINE.phys -> command(w, GONE, 1)
      :: else -> call(w, DELETE, 0, 1)
      fi
    fi
  fi
}

/* What somebody else left unfinished. */
inline resume(w) {
  if
  :: MINE.st == Deleting || (MINE.st == Retrying && MINE.doomed) -> call(w, DELETE, 1, ME.cur)
  :: MINE.st == Updating ->
    if
#ifdef M_UPDATE_AT_ONCE
    :: true -> command(w, OVER, 0)
#else
    :: ME.late || (ME.cur && !ISU(ME.nd)) -> command(w, OVER, 0)
    :: else -> command(w, WAIT, 0)
#endif
    fi
  :: else ->
#ifdef IDEMPOTENT
    if
    :: ME.late -> call(w, CREATE, 1, ME.cur)
    :: else -> command(w, WAIT, 0)
    fi
#else
    command(w, SEEK, 0)
#endif
  fi
}

/* An update that was aborted has no intent any more, but may land until its deadline. */
#ifdef M_RETRY_AT_ONCE
#define ABORTED(node, id) false
#else
#define ABORTED(node, id) (ISU(node) && R[id].intent == 0 && R[id].phys)
#endif

/* claim.lua, for a node of the current traversal. */
inline claimNode(w, node) {
  ME.nd = node;
  ME.cur = 1;
  ME.wt = trav;
  if
  :: !HAS(NODES, node) || HAS(failed, node) || !HAS(pend, node) -> next = LEAVE
  :: HAS(NODES, node) && !HAS(failed, node) && HAS(pend, node) && HAS(done, node) ->
#ifdef M_NO_PASS_AGAIN
    next = LEAVE
#else
    ME.endn = 1;
    x = 0;
    i = 0;
    do
    :: i < N + S ->
      if
      :: HAS(NODES, i) && HAS(pend, i) && !HAS(done, i) ->
        if
        :: HAS(PREDS(i), node) -> x = x | BIT(i)
        :: else
        fi
      :: else
      fi;
      i++
    :: else -> break
    od;
    ME.rings = x;
    next = SPEAK
#endif
  :: else ->
    ME.r = RES(node);
    if
    :: ABSENT(ME.r) ->
      MINE.rec = 1;
      MINE.st = Declared;
      if
      :: ISU(node) -> MINE.name = node
      :: else
      fi
    :: else
    fi;
    if
    :: LEASED(ME.r) ->
#ifndef M_NO_MARK
      MINE.mark = node + 1;
#endif
      next = LEAVE
    :: else ->
      again = MINE.dl == 1 && (ABORTED(node, ME.r) || ((MINE.intent != 0 || MINE.handed) && MINE.waiting));
#ifndef M_NO_MARK
      if
      :: again -> MINE.mark = node + 1
      :: else
      fi;
#endif
      if
      :: again && !(!ISU(node) && MINE.intent == UPDATE) -> next = LEAVE
      :: else ->
        MINE.holder = w + 1;
        MINE.live = 1;
        MINE.mark = 0;
        if
        :: MINE.intent != 0 || MINE.handed -> MINE.ops = 1
        :: else
        fi;
        ME.late = MINE.dl != 1;
        next = BEGIN
      fi
    fi
  fi
}

/* claim.lua, for a resource only: a timer of the operation set, or a message of an older traversal. */
inline claimResource(w, id) {
  ME.r = id;
  if
  :: ABSENT(id) || LEASED(id) || ((MINE.intent != 0 || MINE.handed) && MINE.waiting && MINE.dl == 1) -> next = LEAVE
  :: else ->
    if
    :: MINE.intent == 0 && !MINE.handed ->
      if
      :: MINE.mark != 0 -> ME.rings = BIT(MINE.mark - 1); next = SPEAK
      :: else -> next = LEAVE
      fi
    :: else ->
      MINE.holder = w + 1;
      MINE.live = 1;
      MINE.ops = 1;
      ME.late = MINE.dl != 1;
      next = BEGIN
    fi
  fi
}

inline conclude(w) {
  /* The outcome of a call is stored; what next is in the same commit where nothing more is to be done. */
  again = 0;
  if
  :: next == GOON ->
    MINE.intent = 0;
    MINE.ops = 0;
    MINE.dl = 0;
    MINE.waiting = 0;
    ME.know = 0;
    again = CURRENT;
    next = (again -> DECIDE : LETGO)
  :: next == BEGIN ->
    if
    :: MINE.handed -> next = TAKE
    :: !MINE.handed && MINE.intent != 0 -> next = STAY; resume(w)
    :: !MINE.handed && MINE.intent == 0 && ME.cur -> next = DECIDE
    :: else -> next = STAY; command(w, RELEASE, 0)
    fi
  :: else
  fi;
  if
  :: next == TAKE ->
    ME.know = 1;
    if
    :: MINE.st == Deleting || MINE.st == Deleted -> call(w, DELETE, 1, ME.cur)
    :: MINE.st != Deleting && MINE.st != Deleted && MINE.dl == 1 -> command(w, WAIT, 0)
    :: else -> command(w, MADE, 0)
    fi
  :: next == DECIDE ->
    decide(w);
    if
    :: again && ME.cmd == PASS -> next = DONE
    :: else
    fi
  :: else
  fi;
  /* commit.lua, effects done and gone. */
  if
  :: next == DONE && ISU(ME.nd) ->
    MINE.st = Ready; MINE.v = ME.v; MINE.inp = ME.inp; MINE.req = NEEDS(ME.inp); MINE.rpl = 0; MINE.tv = 0; MINE.tinp = 0
  :: next == GONEBY ->
#ifndef M_NO_TOMBSTONE
    MINE.rec = 2; MINE.st = Deleted; MINE.doomed = 1;
#endif
    MINE.phys = 0; MINE.unsure = 0; MINE.unsureBefore = 0; MINE.v = 0; MINE.inp = 0; MINE.tv = 0; MINE.tinp = 0;
    MINE.req = 0; MINE.intent = 0; MINE.dl = 0; MINE.ops = 0; MINE.rpl = 0; MINE.dirty = 0; MINE.waiting = 0
  :: else
  fi;
  if
  :: next == DONE || next == GONEBY ->
    if
    :: CURRENT -> finish(w); ME.endn = 1
    :: else
    fi
  :: else
  fi;
  if
  :: next >= LETGO && next <= GONEBY ->
    MINE.holder = 0;
    MINE.live = 0;
#ifdef M_REFUSED_BLIND
    if
    :: MINE.mark != 0 && result != STALE -> ME.rings = ME.rings | BIT(MINE.mark - 1)
#else
    if
    :: MINE.mark != 0 -> ME.rings = ME.rings | BIT(MINE.mark - 1)
#endif
    :: else
    fi;
    if
    :: waits && CURRENT -> MINE.mark = ME.nd + 1
    :: else
    fi;
#ifdef M_NO_TOMBSTONE
    if
    :: next == GONEBY -> MINE.rec = 3; MINE.st = Declared; MINE.doomed = 0; MINE.mark = 0
    :: else
    fi;
#endif
    next = SPEAK
  :: else
  fi;
  /* Rings are published after the script that answered them; without any the visit is over, or ends its node. */
  if
  :: next == SPEAK || next == LEAVE ->
    x = (next == SPEAK -> ME.rings : 0);
    i = (next == SPEAK -> ME.endn : 0);
    n = ME.nd;
    best = ME.slow;
    ME.ph = IDLE; ME.nd = 0; ME.cur = 0; ME.wt = 0; ME.r = 0; ME.cmd = 0; ME.op = 0; ME.dec = 0; ME.tried = 0;
    ME.late = 0; ME.know = 0; ME.alt = 0; ME.landed = 0; ME.over = 0; ME.slow = 0; ME.endn = 0; ME.v = 0; ME.inp = 0;
    ME.rings = 0;
    j = 0;
    do
    :: j < S ->
      if
      :: R[j].caller == w + 1 -> R[j].caller = 0
      :: else
      fi;
      j++
    :: else -> break
    od;
    if
    :: x != 0 || i ->
      ME.rings = x; ME.endn = i; ME.wt = trav; ME.slow = best;
      ME.ph = (x != 0 -> PUBLISH : END);
      if
      :: i -> ME.nd = n; ME.cur = 1
      :: else
      fi
    :: else
    fi
  :: else
  fi;
  waits = 0;
  result = 0;
  next = STAY
}

/* Effect fail, of an outcome. */
inline commitFail(w) {
  MINE.intent = 0;
  MINE.ops = 0;
  if
  :: CURRENT -> pend = pend & ~BIT(ME.nd); failed = failed | BIT(ME.nd)
  :: else
  fi;
  next = LETGO
}

inline commitWait(w) {
  MINE.waiting = 1;
#ifdef M_OPS_WITHOUT_INTENT
  MINE.ops = 1;
#else
  MINE.ops = MINE.intent != 0 || MINE.handed;
#endif
#ifndef M_NO_MARK
  waits = 1;
#endif
  next = LETGO
}

inline recordMade(w, version, inps) {
  MINE.st = Ready;
  MINE.phys = 1;
  MINE.unsure = 0;
  MINE.dirty = 0;
  MINE.handed = 0;
  MINE.v = version;
  MINE.inp = inps
}

#define REQUIRES(s, id) (R[s].rec == 1 && HAS(R[s].req, id))

/* The checks at the top of commit.lua. */
inline check(w) {
  result = 0;
  if
  :: MINE.holder != w + 1 -> result = FENCED
#ifndef M_NO_TRAVERSAL_CHECK
  :: MINE.holder == w + 1 && ME.dec && !CURRENT -> result = STALE
#endif
  :: else ->
    if
    :: ME.cmd == INTENT && ME.op == DELETE && ME.dec ->
      i = 0;
      do
      :: i < S ->
        if
        :: REQUIRES(i, ME.r) -> result = REQUIRED
        :: else
        fi;
        i++
      :: else -> break
      od
    :: else
    fi;
    if
    :: result == 0 && MINE.handed && !ME.know && ME.cmd != RELEASE -> result = HANDED
    :: else
    fi
  fi
}

inline intend(w) {
  if
  :: ME.op != DELETE && !ME.tried ->
    MINE.tv = ME.v;
    MINE.tinp = ME.inp;
#ifndef M_REQUIRE_LATE
    MINE.req = MINE.req | NEEDS(ME.inp);
#endif
  :: else
  fi;
  if
  :: ME.dec && ME.op != DELETE && !ME.tried ->
    /* What it refers to has reached the goal. */
    i = 0;
    do
    :: i < N ->
      if
      :: HAS(DEPS(goal, ME.nd), i) -> assert(R[G.ch[i]].things == 1 && R[G.ch[i]].rv == VERS(goal, i))
      :: else
      fi;
      i++
    :: else -> break
    od
  :: else
  fi;
  if
  :: ME.op == CREATE -> MINE.st = Creating; MINE.unsureBefore = MINE.unsure; MINE.unsure = 1
  :: ME.op == UPDATE -> MINE.st = Updating; MINE.dirty = 1
  :: else -> MINE.st = Deleting; MINE.doomed = 1
  fi;
  if
  :: ME.know -> MINE.handed = 0; MINE.phys = 1; ME.know = 0
  :: else
  fi;
  MINE.intent = ME.op;
  MINE.caller = w + 1;
  MINE.dl = 1;
  MINE.waiting = 0;
  MINE.ops = 1;
  MINE.live = 1;
  ME.slow = 0;
  ME.v = (ME.op == DELETE -> 0 : MINE.tv);
  ME.inp = (ME.op == DELETE -> 0 : MINE.tinp);
  ME.cmd = 0;
  ME.dec = 0;
  ME.tried = 0;
  ME.ph = CALL
}

inline replace(w) {
  newId(best);
  R[best].rec = 1;
  R[best].st = Declared;
  R[best].name = MINE.name;
  R[best].holder = w + 1;
  R[best].live = MINE.live;
  MINE.rpl = best + 1;
  MINE.st = Replaced;
  MINE.holder = 0;
  MINE.live = 0;
  G.ch[ME.nd] = best;
  ME.r = best;
  next = DECIDE
}

inline adopt(w) {
  best = ME.alt;
  MINE.rpl = best + 1;
  MINE.st = Replaced;
  MINE.holder = 0;
  MINE.live = 0;
  G.ch[ME.nd] = best;
  ME.alt = 0;
  if
  :: LEASED(best) -> R[best].mark = ME.nd + 1; next = LEAVE
  :: else ->
    ME.r = best;
    MINE.holder = w + 1;
    MINE.live = 1;
    MINE.mark = 0;
    ME.slow = 0;
    ME.late = MINE.dl == 0;
    next = BEGIN
  fi
}

inline commit(w) {
  check(w);
  if
  :: result == FENCED -> next = LEAVE
  :: result == STALE -> next = LETGO
  :: result == REQUIRED -> commitFail(w)
  :: result == HANDED -> next = TAKE
  :: else ->
    /* A goal without updates is in service when its first cleanup begins. */
    if
    :: CURRENT && !ISU(ME.nd) && (G.u & ~done) == 0 -> reachGoal()
    :: else
    fi;
    if
    :: ME.cmd == INTENT -> intend(w)
    :: ME.cmd == PASS -> next = DONE
    :: ME.cmd == GONE -> next = GONEBY
    :: ME.cmd == REPLACE -> replace(w)
    :: ME.cmd == ADOPT -> adopt(w)
    :: ME.cmd == SEEK -> MINE.st = Uncertain; ME.cmd = 0; ME.dec = 0; ME.ph = FIND
    :: ME.cmd == WAIT ->
      if
      :: MINE.st == Creating || MINE.handed -> MINE.st = Uncertain
      :: else
      fi;
      commitWait(w)
    :: ME.cmd == MADE -> recordMade(w, MINE.tv, MINE.tinp); next = GOON
    :: ME.cmd == OVER -> MINE.st = Ready; next = GOON
    :: else -> next = LETGO
    fi
  fi
}

/* provider-call.ts: deadline and lease once more, by the own clock. */
inline start(w) {
  if
#ifndef M_CALL_LATE
  :: ME.over ->
    if
    :: MINE.holder != w + 1 -> next = LEAVE
    :: else ->
      ME.over = 0;
      if
      :: MINE.handed -> next = TAKE
      :: !MINE.handed && ME.op == CREATE -> MINE.st = Retrying; MINE.unsure = MINE.unsureBefore; next = GOON
      :: !MINE.handed && ME.op == UPDATE -> MINE.st = Ready; next = GOON
      :: else -> call(w, DELETE, 0, 1)
      fi
    fi
  :: !ME.over && ME.slow && MINE.holder != w + 1 -> next = LEAVE
#endif
  :: else ->
    if
    :: ME.slow && MINE.holder == w + 1 -> MINE.live = 1; MINE.dl = 1; ME.slow = 0
    :: else
    fi;
    /* No two operations on one resource, unless a lease ran out. */
    assert(!(W[1 - w].ph == FLY && W[1 - w].r == ME.r && !W[1 - w].slow));
    ME.ph = FLY
  fi
}

/* What a call does to reality. */
inline effect(what, id, version, inps) {
  n = TOKEN(id);
  if
  :: what == CREATE ->
#ifdef IDEMPOTENT
    if
    :: R[n].things == 0 -> R[n].things = 1; R[n].rv = version; R[n].rinp = inps
    :: else
    fi;
#else
    R[n].things++;
    R[n].rv = version;
    R[n].rinp = inps;
#endif
    /* One thing per incarnation, ever. */
    assert(R[n].things == 1 && !R[n].spent)
  :: what == UPDATE && R[n].things > 0 -> R[n].rv = version; R[n].rinp = inps
  :: what == DELETE && R[n].things > 0 ->
    i = 0;
    do
    :: i < S -> assert(i == n || R[i].things == 0 || !HAS(NEEDS(R[i].rinp), n)); i++
    :: else -> break
    od;
    R[n].things = 0;
    R[n].spent = 1;
    R[n].rv = 0;
    R[n].rinp = 0
  :: else
  fi;
  /* What a thing refers to exists. */
  i = 0;
  do
  :: i < S -> assert(what == DELETE || R[n].things == 0 || !HAS(NEEDS(R[n].rinp), i) || R[i].things > 0); i++
  :: else -> break
  od
}

/* The call has returned: the outcome is checked against the holder only. */
inline outcome(w) {
  ME.landed = 0;
  ME.over = 0;
  if
#ifndef M_NO_FENCE_CHECK
  :: MINE.holder != w + 1 ->
    if
    :: ME.op == CREATE -> ME.ph = HAND
    :: else -> next = LEAVE
    fi
#endif
  :: else ->
    if
    :: ME.op == DELETE ->
      if
      :: MINE.handed -> next = TAKE
      :: else -> next = GONEBY
      fi
    :: else ->
      recordMade(w, ME.v, ME.inp);
      next = GOON
    fi
  fi
}

/* No traversal knows of a stray, so its delete is tried until it succeeds. */
#ifdef M_STRAY_ONCE
#define ISSTRAY(id) false
#else
#define ISSTRAY(id) ((id) == STRAY)
#endif

/* The provider says that it failed, for good or not; whether it had an effect is not known. */
inline outcomeFailed(w, forGood) {
  ME.landed = 0;
  if
  :: MINE.holder != w + 1 -> next = LEAVE
  :: else ->
    if
    :: MINE.handed -> next = TAKE
    :: else ->
      MINE.dl = 0;
      if
      :: ISSTRAY(ME.r) -> MINE.st = Retrying; next = LETGO
      :: !ISSTRAY(ME.r) && forGood -> MINE.st = Failed; commitFail(w)
      :: else -> MINE.st = Retrying; MINE.intent = 0; MINE.ops = 0; next = LETGO
      fi
    fi
  fi
}

/* The engine aborted it at its timeout; it may take effect until its deadline. It is tried again. */
inline outcomeAborted(w) {
  assert(orphan.op == 0);
  orphan.op = ME.op; orphan.r = ME.r; orphan.v = ME.v; orphan.inp = ME.inp;
  if
  :: MINE.holder != w + 1 -> next = LEAVE
  :: MINE.holder == w + 1 && MINE.handed -> next = TAKE
  :: else ->
    MINE.st = Retrying;
    if
    :: ISSTRAY(ME.r) -> skip
    :: else -> MINE.intent = 0; MINE.ops = 0
    fi;
    next = LETGO
  fi
}

inline found(w) {
  again = ME.landed;
  ME.landed = 0;
#ifdef M_FIND_BEFORE_DEADLINE
  ME.late = MINE.dl != 1;
#endif
  if
  :: MINE.holder != w + 1 -> next = LEAVE
  :: MINE.holder == w + 1 && again -> recordMade(w, MINE.tv, MINE.tinp); next = GOON
  :: else ->
    if
    :: MINE.handed -> next = TAKE
    :: else ->
      if
      :: ME.late -> MINE.st = Declared; MINE.phys = 0; MINE.unsure = 0; next = GOON
      :: else -> commitWait(w)
      fi
    fi
  fi
}

/* handover.lua */
inline handOver(w) {
  if
  :: MINE.rec == 1 && MINE.phys -> skip
  :: MINE.rec == 1 && !MINE.phys ->
    MINE.handed = 1;
    MINE.ops = 1;
    /* Its own call is over; that of another may take effect until its deadline. */
    if
#ifdef M_HANDOVER_ENDS_ALL
    :: MINE.dl == 1 -> MINE.dl = 2
#else
    :: MINE.dl == 1 && MINE.caller == w + 1 -> MINE.dl = 2
#endif
    :: else
    fi
  :: else ->
    assert(R[STRAY].rec == 0);
    R[STRAY].rec = 1; R[STRAY].st = Deleting; R[STRAY].phys = 1; R[STRAY].doomed = 1; R[STRAY].intent = DELETE;
    R[STRAY].dl = 2; R[STRAY].ops = 1;
    strayOf = ME.r
  fi;
  next = LEAVE
}

inline crash(w) {
  crashes--;
  faulted = 1;
  i = 0;
  do
  :: i < S ->
    if
    :: R[i].holder == w + 1 -> R[i].holder = DEAD
    :: else
    fi;
    i++
  :: else -> break
  od;
  if
  :: ME.ph == FLY && !ME.landed && !ME.over ->
    assert(orphan.op == 0);
    orphan.op = ME.op; orphan.r = ME.r; orphan.v = ME.v; orphan.inp = ME.inp
  :: else
  fi;
  next = LEAVE
}

/* A delivery that meets its own visit comes back later. */
#define OWN(node) (LEASED(RES(node)) && R[RES(node)].holder != DEAD && W[R[RES(node)].holder - 1].cur && W[R[RES(node)].holder - 1].wt == trav && W[R[RES(node)].holder - 1].nd == (node))
#define CANTAKE(node) ((node) < N + S && HAS(mq, node) && opened == 1 && !OWN(node))

/* A replayed trail prints one line per step; a search prints nothing. */
#define tell(w) \
  if \
  :: step == CLAIM -> printf("worker %d: claim for node %d, resource %d\n", w, pick, RES(pick)) \
  :: step == CLAIMR -> printf("worker %d: claim for resource %d only\n", w, pick) \
  :: step == COMMIT -> printf("worker %d: commit: command %d, call %d, resource %d, node %d of traversal %d\n", w, ME.cmd, ME.op, ME.r, ME.nd, ME.wt) \
  :: step == CALL -> printf("worker %d: look at deadline and lease\n", w) \
  :: step == EFFECT -> printf("worker %d: call %d takes effect on resource %d\n", w, ME.op, ME.r) \
  :: step == OUTCOME -> printf("worker %d: call %d has returned, outcome of resource %d\n", w, ME.op, ME.r) \
  :: step == GIVEUP -> printf("worker %d: leaves its call to the deadline\n", w) \
  :: step == TERMINAL -> printf("worker %d: call %d fails for good\n", w, ME.op) \
  :: step == RETRYABLE -> printf("worker %d: call %d fails\n", w, ME.op) \
  :: step == ABORT -> printf("worker %d: call %d is aborted\n", w, ME.op) \
  :: step == FIND -> printf("worker %d: find resource %d: %d\n", w, ME.r, R[TOKEN(ME.r)].things) \
  :: step == FOUND -> printf("worker %d: find has returned, outcome of resource %d\n", w, ME.r) \
  :: step == HAND -> printf("worker %d: hand over resource %d\n", w, ME.r) \
  :: step == PUBLISH -> printf("worker %d: ring\n", w) \
  :: step == END -> printf("worker %d: end node %d\n", w, ME.nd) \
  :: else -> printf("worker %d: dies in phase %d\n", w, ME.ph) \
  fi;

#define EACHNODE(which) which(0) which(1) which(2) which(3) which(4) which(5) which(6) which(7) which(8) which(9)
#define EACHRESOURCE(which) which(0) which(1) which(2) which(3) which(4) which(5) which(6)

#define CLAIM 10
#define CLAIMR 11
#define EFFECT 12
#define OUTCOME 13
#define GIVEUP 14
#define TERMINAL 15
#define RETRYABLE 16
#define ABORT 17
#define CRASH 18

/* Idle workers are alike, so the second one takes nothing while the first is idle. */
#define MAYTAKE (ME.ph == IDLE && (w == 0 || W[0].ph != IDLE))
#define TAKENODE(node) :: MAYTAKE && CANTAKE(node) -> pick = node; step = CLAIM; mq = mq & ~BIT(node)
#define TAKETWICE(node) :: MAYTAKE && CANTAKE(node) && doubles > 0 -> pick = node; step = CLAIM; doubles--
#define TAKERESOURCE(id) :: id < S && MAYTAKE && HAS(mr, id) -> pick = id; step = CLAIMR; mr = mr & ~BIT(id)

proctype worker(bit w) {
end:
  do
  :: atomic {
      if
      EACHNODE(TAKENODE)
#if DOUBLES > 0
      EACHNODE(TAKETWICE)
#endif
      EACHRESOURCE(TAKERESOURCE)
      :: ME.ph != IDLE && ME.ph != FLY -> step = ME.ph
      :: ME.ph == FLY && !ME.landed && !ME.over -> step = EFFECT
      :: ME.ph == FLY && ME.landed -> step = OUTCOME
      :: ME.ph == FLY && !ME.landed && ME.over -> step = GIVEUP
      :: ME.ph == FLY && !ME.over && fails > 0 -> step = TERMINAL
      :: ME.ph == FLY && !ME.over && errors > 0 -> step = RETRYABLE
      :: ME.ph == FLY && !ME.landed && !ME.over && aborts > 0 -> step = ABORT
      :: ME.ph != IDLE && crashes > 0 -> step = CRASH
      fi;
      d_step {
        next = STAY;
        waits = 0;
        result = 0;
        tell(w)
        if
        :: step == CLAIM -> claimNode(w, pick)
        :: step == CLAIMR -> claimResource(w, pick)
        :: step == COMMIT -> commit(w)
        :: step == CALL -> start(w)
        :: step == EFFECT -> effect(ME.op, ME.r, ME.v, ME.inp); ME.landed = 1
        :: step == OUTCOME -> outcome(w)
        :: step == GIVEUP -> next = LEAVE
        :: step == TERMINAL -> fails--; faulted = 1; outcomeFailed(w, 1)
        :: step == RETRYABLE -> errors--; faulted = 1; outcomeFailed(w, 0)
        :: step == ABORT -> aborts--; faulted = 1; outcomeAborted(w)
        :: step == FIND -> ME.landed = R[TOKEN(ME.r)].things > 0; ME.ph = FOUND
        :: step == FOUND -> found(w)
        :: step == HAND -> handOver(w)
        :: step == PUBLISH ->
          if
          :: ME.wt == trav -> mq = mq | ME.rings
          :: else
          fi;
          ME.rings = 0;
          if
          :: ME.endn -> ME.ph = END
          :: else -> next = LEAVE
          fi
        :: step == END ->
          if
          :: CURRENT -> pend = pend & ~BIT(ME.nd)
          :: else
          fi;
          next = LEAVE
        :: else -> crash(w)
        fi;
        conclude(w);
        pick = 0;
        step = 0;
        skip
      }
    }
  od
}

/* --- goals ------------------------------------------------------------------------------------------------------ */

/* begin.lua. What was rung for an older traversal is now about a resource only; older marks are void. */
#define KIND (trav == 0 -> KIND1 : (trav == 1 -> KIND2 : KIND3))
#define GOAL (trav == 0 -> GOAL1 : (trav == 1 -> GOAL2 : GOAL3))

inline begin() {
  x = KIND;
  planned = GOAL;
  i = 0;
  do
  :: i < N + S ->
    if
    :: HAS(mq, i) ->
      if
      :: !ABSENT(RES(i)) -> mr = mr | BIT(RES(i))
      :: else
      fi
    :: else
    fi;
    i++
  :: else -> break
  od;
  i = 0;
  do
  :: i < S -> R[i].mark = 0; i++
  :: else -> break
  od;
  mq = 0; pend = 0; done = 0; failed = 0; left = 0;
  if
  :: x == SET -> goal = planned
  :: x == REMOVE -> goal = 0
  :: x == BACK -> goal = lastGood
  :: else
  fi;
  isDelete = x == REMOVE;
  trav++;
  opened = (x == CANCEL -> 2 : 0);
  printf("goal %d: kind %d\n", trav, x);
  clear(G);
#ifndef M_READ_FIRST
  clear(P[0]);
#endif
#if PREPARERS == 2
  clear(P[1]);
#endif
#ifdef M_NO_OPS_AT_BEGIN
  i = 0;
  do
  :: i < S -> R[i].ops = 0; i++
  :: else -> break
  od
#endif
}

proctype people() {
end:
  do
#ifdef M_READ_FIRST
  :: d_step {
      trav < GOALS && P[0].t != trav + 1 ->
      planned = (KIND == BACK -> lastGood : (KIND == SET -> GOAL : 0));
      plan(P[0], planned);
      P[0].t = trav + 1;
      P[0].ph = 1
    }
  :: d_step { trav < GOALS && P[0].t == trav + 1 -> begin(); skip }
#else
  :: d_step { trav < GOALS -> begin(); skip }
#endif
  od
}

inline open(p) {
  G.u = P[p].u;
  G.k = P[p].k;
  i = 0;
  do
  :: i < N -> G.ch[i] = P[p].ch[i]; G.alt[i] = P[p].alt[i]; i++
  :: else -> break
  od;
  i = 0;
  do
  :: i < S -> G.kp[i] = P[p].kp[i]; i++
  :: else -> break
  od;
  printf("traversal %d opens\n", trav);
  opened = 1;
  left = 0;
  ready(P[p])
}

/* The counters are the opener's; the queue is what was written. */
inline ready(g) {
  i = 0;
  do
  :: i < N + S ->
    if
    :: HAS(g.u | (g.k << N), i) -> left++
    :: else
    fi;
    if
    :: HAS(NODES, i) ->
      if
      :: PREDS(i) == 0 -> pend = pend | BIT(i)
      :: else
      fi
    :: else
    fi;
    i++
  :: else -> break
  od;
  mq = pend;
  if
  :: left == 0 -> reachGoal()
  :: else
  fi
}

/* Whoever set the goal, or the sweeper; anybody at any time. The second one only after a fault. */
proctype preparer(bit p) {
end:
  do
#ifndef M_READ_FIRST
  :: d_step { trav > 0 && opened == 0 && P[p].ph == 0 && (p == 0 || P[0].ph != 0) -> printf("preparer %d reads\n", p); plan(P[p], goal); P[p].t = trav; P[p].ph = 1 }
#endif
#ifdef M_NO_ATTEMPT
  :: d_step {
      P[p].ph == 1 ->
      if
      :: opened == 0 ->
        G.u = G.u | P[p].u;
        G.k = G.k | P[p].k;
        i = 0;
        do
        :: i < N -> G.ch[i] = P[p].ch[i]; G.alt[i] = P[p].alt[i]; i++
        :: else -> break
        od;
        i = 0;
        do
        :: i < S -> G.kp[i] = P[p].kp[i]; i++
        :: else -> break
        od;
        P[p].ph = 2
      :: else -> clear(P[p])
      fi
    }
  :: d_step {
      P[p].ph == 2 ->
      if
      :: opened == 0 -> opened = 1; ready(P[p])
      :: else
      fi;
      clear(P[p]);
      skip
    }
#else
  :: d_step {
      P[p].ph == 1 && P[p].t == trav ->
      if
      :: opened == 0 -> open(p)
      :: else
      fi;
      clear(P[p]);
      skip
    }
#endif
  od
}

/* --- time and chance -------------------------------------------------------------------------------------------- */

#define VISITED(node) ((W[0].ph != IDLE && W[0].cur && W[0].nd == (node) && W[0].wt == trav && !W[0].slow) || (W[1].ph != IDLE && W[1].cur && W[1].nd == (node) && W[1].wt == trav && !W[1].slow))
#define AWAITS(s) (R[s].waiting && R[s].dl == 1)
#define DUE(node) (faulted && opened == 1 && HAS(pend, node) && !HAS(mq, node) && !VISITED(node) && (R[RES(node)].rec == 0 || HAS(done, node) || (!LEASED(RES(node)) && !AWAITS(RES(node)) && !(R[RES(node)].dl == 1 && ABORTED(node, RES(node))))))
#define OPDUE(s) (faulted && R[s].ops && !HAS(mr, s) && !LEASED(s) && !AWAITS(s))
#define CALLING(s) (LEASED(s) && R[s].holder != DEAD && (W[R[s].holder - 1].ph == CALL || W[R[s].holder - 1].ph == FLY))

inline deadline(s) {
  R[s].dl = 2;
  i = 0;
  do
  :: i < 2 ->
    if
    :: W[i].r == s && (W[i].ph == CALL || (W[i].ph == FLY && !W[i].landed)) -> W[i].over = 1
    :: else
    fi;
    i++
  :: else -> break
  od;
  if
  :: orphan.op != 0 && orphan.r == s -> orphan.op = 0; orphan.r = 0; orphan.v = 0; orphan.inp = 0
  :: else
  fi
}

#define EXPIRE 1
#define STALL 2
#define DEADLINE 3
#define RINGNODE 4
#define RINGOP 5
#define LAND 6

#define SWEEPNODE(node) :: node < N + S && DUE(node) -> pick = node; step = RINGNODE
#define SWEEPOP(id) :: id < S && OPDUE(id) -> pick = id; step = RINGOP
#define PASSING(id) \
  :: id < S && R[id].holder == DEAD && R[id].live -> pick = id; step = EXPIRE \
  :: id < S && pauses > 0 && LEASED(id) && R[id].holder != DEAD -> pick = id; step = STALL \
  :: id < S && R[id].dl == 1 && !CALLING(id) -> pick = id; step = DEADLINE

proctype time() {
end:
  do
  :: atomic {
      if
      EACHRESOURCE(PASSING)
#ifndef M_NO_PENDING
      EACHNODE(SWEEPNODE)
#endif
#ifndef M_NO_OPS
      EACHRESOURCE(SWEEPOP)
#endif
      :: orphan.op != 0 -> step = LAND
      fi;
      d_step {
        if
        :: step == EXPIRE -> printf("time: the lease of a dead holder of resource %d runs out\n", pick); R[pick].live = 0
        :: step == STALL -> printf("time: the holder of resource %d stands still past its lease\n", pick); pauses--; faulted = 1; R[pick].live = 0; W[R[pick].holder - 1].slow = 1
        :: step == DEADLINE -> printf("time: the deadline of resource %d passes\n", pick); deadline(pick)
        :: step == RINGNODE -> printf("sweeper: rings for node %d\n", pick); mq = mq | BIT(pick)
        :: step == RINGOP -> printf("sweeper: rings for resource %d\n", pick); assert(R[pick].intent != 0 || R[pick].handed); mr = mr | BIT(pick)
        :: else -> printf("an abandoned call %d takes effect on resource %d\n", orphan.op, orphan.r); effect(orphan.op, orphan.r, orphan.v, orphan.inp); orphan.op = 0; orphan.r = 0; orphan.v = 0; orphan.inp = 0
        fi;
        pick = 0;
        step = 0;
        skip
      }
    }
  :: d_step { losses > 0 && mq != 0 -> printf("all rings are lost\n"); losses--; faulted = 1; mq = 0 }
  :: d_step { pauses > 0 && (W[0].ph == PUBLISH || W[0].ph == END) && !W[0].slow -> pauses--; faulted = 1; W[0].slow = 1 }
  :: d_step { pauses > 0 && (W[1].ph == PUBLISH || W[1].ph == END) && !W[1].slow -> pauses--; faulted = 1; W[1].slow = 1 }
  :: d_step { orphan.op != 0 && R[orphan.r].dl != 1 -> orphan.op = 0; orphan.r = 0; orphan.v = 0; orphan.inp = 0 }
  od
}

/* --- when nothing moves any more -------------------------------------------------------------------------------- */

inline quiet() {
  assert(trav == GOALS && opened != 0);
  assert(pend == 0 && mq == 0 && mr == 0);
  assert(W[0].ph == IDLE && W[1].ph == IDLE);
  i = 0;
  do
  :: i < S ->
    /* The name of a dead holder whose lease ran out may stay: it keeps nobody off. */
    assert(!LEASED(i) && R[i].intent == 0 && !R[i].handed && !R[i].ops && R[i].mark == 0);
    i++
  :: else -> break
  od;
  if
  :: opened == 1 && failed == 0 ->
    assert(left == 0);
    assert(lastGood == goal || isDelete);
    n = 0;
    do
    :: n < N ->
      if
      :: WANT(goal, n) ->
        inputsOf(G, goal, n);
        i = G.ch[n];
        assert(R[i].rec == 1 && R[i].st == Ready && R[i].phys && !R[i].dirty);
        assert(R[i].things == 1 && R[i].rv == VERS(goal, n) && R[i].rinp == inputs);
        assert(R[i].v == R[i].rv && R[i].inp == inputs && R[i].req == NEEDS(inputs))
      :: else
      fi;
      n++
    :: else -> break
    od;
    i = 0;
    do
    :: i < S ->
      assert(R[i].things == 0 || (WANT(goal, R[i].name) && i != STRAY && G.ch[R[i].name] == i));
      assert(R[i].rec != 1 || (WANT(goal, R[i].name) && i != STRAY && G.ch[R[i].name] == i));
      i++
    :: else -> break
    od
  :: else
  fi
}

/* The world as it is in the beginning: a goal that was reached. */
inline given(to) {
  n = 0;
  do
  :: n < N ->
    if
    :: WANT(to, n) ->
      G.ch[n] = n;
      R[n].rec = 1; R[n].name = n; R[n].st = Ready; R[n].phys = 1; R[n].v = VERS(to, n); R[n].things = 1; R[n].rv = VERS(to, n)
    :: else
    fi;
    n++
  :: else -> break
  od;
  n = 0;
  do
  :: n < N ->
    if
    :: WANT(to, n) ->
      inputsOf(G, to, n);
      R[n].inp = inputs;
      R[n].rinp = inputs;
      R[n].req = NEEDS(inputs)
    :: else
    fi;
    n++
  :: else -> break
  od;
  clear(G);
  lastGood = to;
  goal = to
}

init {
  atomic {
    d_step {
      given(START);
      crashes = CRASHES; pauses = PAUSES; losses = LOSSES; doubles = DOUBLES; fails = FAILS; aborts = ABORTS; errors = ERRORS
    };
    run worker(0);
    run worker(1);
    run people();
    run preparer(0);
#if PREPARERS == 2
    run preparer(1);
#endif
    run time()
  };
  timeout;
  d_step { quiet(); skip }
}
