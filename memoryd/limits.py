"""Every limit that a caller can meet, each with its reason. Names end in their unit."""

from __future__ import annotations

# --- one memory -----------------------------------------------------------------------------------------------------
CONTENT_BYTES_MAX = 64 * 1024  # a long chapter; of its words 8,000 tokens are in its vector (EMBED_TEXT_TOKENS_MAX)
METADATA_BYTES_MAX = 16 * 1024  # as JSON; metadata describes a memory, it is not a second content
METADATA_DEPTH_MAX = 16  # well under BSON's 100 levels, and no parser recurses dangerously
NAME_BYTES_MAX = 128  # a tenant, project, agent, session, tag or tool name: it becomes part of keys
TAGS_MAX = 32  # each tag is an index term
SHARED_WITH_MAX = 32  # agents that one memory is shared with: each is an index term; for more it is the project's
REFERENCES_MAX = 256  # ids in `related` and in `derived_from`
FACETS_MAX = 16  # of a memory's metadata: each is an index term
FACET_BYTES_MAX = 128  # of a facet's name and of its value, as of any other name
TERMS_MAX = 2_000  # distinct words by which one memory is found: 64 KB of English have fewer
TERM_REPEATS_MAX = 8  # how often one word of a memory counts: BM25 has given 87 % of its weight by then
TERM_CHARS_MAX = 64  # of one word; what is longer is a key or a hash, and is told apart by its beginning
FOLLOWS_MAX = 2  # turns before a memory that are its context: measured, the third says nothing more

# --- one request ----------------------------------------------------------------------------------------------------
ENVELOPE_BYTES_MAX = 4 * 1024 * 1024  # store_many's 256 usual memories fit; one client cannot fill a daemon
STORE_MANY_MAX = 256  # bounds the time one request may occupy the daemon
QUERY_BYTES_MAX = 8 * 1024  # a question, not a document
QUERY_WORDS_MAX = 32  # full-text terms of one recall: each costs a posting list
SYNONYM_GROUPS_MAX = 1_000  # of one project: each is looked at by each recall, which takes less than a millisecond
SYNONYMS_MAX = 16  # words or phrases of one group; a question has room for 32 words
RECALL_LIMIT_MAX = 200  # hits of one answer
RECALL_DEADLINE_MS_MAX = 60_000  # who can wait longer needs none: searches are cut before
RECALL_PAGES_HITS_MAX = 1_000  # hits of all pages of one recall: what one kept order holds, about 100 KB
RECALL_PAGES_TTL_SECONDS = 600  # as long as somebody turns pages
QUERY_CACHE_MAX = 256  # questions that a daemon knows again: 25 MB if each has the longest answer
QUERY_CACHE_SECONDS = 30  # how old an order may be in which nothing has changed but the time itself ("yesterday", recency)
DIVERSE_MAX = 100  # best memories among which a diverse answer is chosen; beyond them little fits the question
CURSOR_BYTES_MAX = 64  # a token and a number
CANDIDATES_MAX = 400  # memories that one search brings to the ranking; measured, 200 by meaning cost 0.4 points of recall
LISTED_MAX = 1_000  # stamps of one answer: RediSearch samples no more, and no search of a recall brings more than 2.5 × 400
UNKNOWN_FEW_MAX = 32  # briefs that are looked for one by one among what a search finds: of more it is cheaper to read all
BRIEFS_MAX = 200_000  # memories of which a daemon keeps what ranking needs, 0.9 to 2.6 KiB each: half of them serve at once
NAMES_KNOWN_MAX = 4_096  # names out of records that a daemon keeps decoded: of 256 bytes at most each, a megabyte
LAYOUTS_MAX = 128  # sets of candidates of the latest recalls of which a daemon keeps what ranking has worked out,
LAYOUT_WORDS_MAX = 1_000_000  # and of how many words in all: up to 34 bytes each, a conversation has 10,000
BRIEFS_SECONDS = 600  # how long it keeps what no recall has met: the words of what is forgotten, among others
AROUND_SESSIONS_MAX = 20  # sessions of which all is looked at where no vector tells what is near; each is a term of a query
EXACT_MEMORIES_MAX = 20_000  # a scope up to this size is searched vector by vector: exact, and in about 10 ms
SEARCH_TIMEOUT_SECONDS = 2.0  # of one search in Redis, which does nothing else meanwhile; it is cut short then, and says so
REPLY_BYTES_MAX = 16 * 1024 * 1024  # pub/sub output buffers are 32 MB hard by default in Redis
REQUEST_ID_BYTES_MAX = 128

RERANK_CANDIDATES = 50  # the best that a cross-encoder reads: about 1 s of a small one on a laptop
# --- feedback -------------------------------------------------------------------------------------------------------
RECALL_LIFE_SECONDS = 24 * 3600  # an agent that judges its day in the evening still can; what was recalled is then let go
RECALLS_KEPT_MAX = 1_000  # of one agent, the newest: about 500 KB of ids where each has ten hits
FEEDBACK_HALF_LIFE_SECONDS = 30 * 24 * 3600  # what was useful a month ago says half as much; chosen, not measured

# --- the daemon -----------------------------------------------------------------------------------------------------
REQUESTS_IN_FLIGHT_MAX = 128  # more waits in the stream, where it survives the daemon
STORES_TOGETHER_MAX = 32  # memories of several requests in one round trip: at most 10 MB, and some 20 ms of Redis
REPLIES_TOGETHER_MAX = 64  # answers of one round trip
QUESTIONS_TOGETHER_MAX = 64  # questions that are noted in one round trip, four digests each
REPLY_ALONE_BYTES = 64 * 1024  # an answer from here on goes alone: 64 of the longest would be 1 GB
REQUESTS_BACKLOG_MAX = 50_000  # beyond it new writes are refused: the queue would outlive its callers' patience
REQUESTS_STREAM_MAX = 100_000  # beyond it the Python client adds none: no daemon has kept up, or none runs
REQUESTS_SENT_MAX = 20_000  # of which a client knows where they wait, the newest: about 3 MB
WORKERS_MAX = 64  # of one `serve`: each has its own model, some 100 MB, and its own connections
WORKER_PAUSE_SECONDS_MIN = 0.5  # before a worker that died is started again; doubled each time it dies young,
WORKER_PAUSE_SECONDS_MAX = 30.0  # up to this: what kills it at each start is not to have all of the processor
WORKER_STEADY_SECONDS = 60.0  # who has lived as long has not died of its start
REDIS_MEMORY_PERCENT_MAX = 90  # the rest of its maxmemory is for what makes room: vectors, tombstones, acknowledgements
COMPACT_FIELD_BYTES = 4096  # a record with a longer field is a hash table in Redis: room for a vector of 1,024 float32
GRAPH_BLOCK_BYTES = 512 * 1024  # of vectors for which Redis makes room at a time: 280 usual ones; else it is room for 1,024
REDIS_ANSWER_SECONDS = 7.0  # of one command, WAITAOF's wait included; then this Redis is away
ARCHIVE_ANSWER_SECONDS = 4.0  # a client asks again after 6 s: by then it has the answer that MongoDB is away
TAKEOVER_IDLE_SECONDS = (
    20.0  # an unanswered request idle for longer belonged to a daemon that died: must exceed any verb's time
)
IDEMPOTENCY_TTL_SECONDS = 24 * 3600  # a retry after a day is a new request (of an event it never is)
CLAIM_TTL_SECONDS = 5  # every daemon sees a published request within milliseconds; a repeat later is answered again
FSYNC_TIMEOUT_SECONDS = 5.0  # everysec fsyncs within 2 s unless the disk is stuck
ARCHIVED_TIMEOUT_SECONDS = 15.0  # the archiver works in batches of milliseconds; beyond this MongoDB is away
SEARCHABLE_TIMEOUT_SECONDS = 10.0  # a vector takes milliseconds, a model that restarts is back within its tries' 7.5 s

# --- looking at itself ----------------------------------------------------------------------------------------------
METRICS_LOOK_SECONDS = 15.0  # between two looks at the stores for gauges: as often as Prometheus usually fetches
HEALTH_REQUEST_BYTES_MAX = 8 * 1024  # of a request for /live, /ready or /metrics: they have no body
HEALTH_ANSWER_SECONDS = 5.0  # from a connection to its answer; who asks gives up by then
HEALTH_CONNECTIONS_MAX = 16  # at once: a probe, a scrape and a curious person are three
HEALTH_PROBE_SECONDS = 2.0  # of one part; what is well answers in milliseconds, and who asks waits for 5 s
HEALTH_KEPT_SECONDS = 1.0  # that an answer holds: however many ask, every part is asked once a second
HEALTH_EMBED_SECONDS = 30.0  # that a model which has answered is believed to: a call may cost money
HEALTH_LAG_SECONDS = 60.0  # that a follower may be behind: it needs milliseconds, and a restart some seconds
IDS_TOLD_MAX = 32  # of many memories whose ids one span names: about 1 KB, and more than a recall usually gives
TRACES_KEPT_MAX = 20_000  # spans in Redis, the oldest go first: about 10 MB, and some minutes of a busy day
TRACES_KEPT_SECONDS = 7 * 24 * 3600  # in MongoDB
TRACES_SEND_SECONDS = 0.25  # how often a process gives its finished spans away
TRACES_BATCH_MAX = 500  # spans of one round trip: about 250 KB
TRACES_SHOWN_MAX = 100  # traces of one answer
TRACE_SPANS_MAX = 2_000  # spans of one answer, of all its traces
METRICS_PERIOD_SECONDS = 10.0  # how often a process gives its metrics to Redis: a person who looks sees a change soon
METRICS_ARCHIVED_SECONDS = 60.0  # and to MongoDB: a document of about 10 KB
METRICS_WRITE_SECONDS = 2.0  # of one such write; then these values are lost
METRIC_SERIES_MAX = 1_000  # of one process: our own words make about 300, and one that is always written takes about 30 KB
METRICS_RAW_SECONDS = 2 * 3600  # every value in Redis: longer than an hour, so that an hour is summed from all of its values
METRICS_MINUTES_SECONDS = 24 * 3600  # what each minute comes to
METRICS_HOURS_SECONDS = 30 * 24 * 3600  # what each hour comes to; in MongoDB each document, too
METRICS_RENEW_SECONDS = 24 * 3600.0  # how often the life of a series that is still written is renewed
METRICS_TTL_SECONDS = METRICS_HOURS_SECONDS + 24 * 3600  # of a series that nobody writes any more: when it is empty
METRICS_MAKE_MAX = 10  # series of one round trip when they are made: about 100 commands, some milliseconds of the process
LOGS_SEND_SECONDS = 1.0  # how often a process gives its log lines to MongoDB
LOGS_BATCH_MAX = 500  # lines of one such write: about 200 KB
LOGS_WRITE_SECONDS = 2.0  # of one such write; then these lines are on stderr only
LOGS_KEPT_SECONDS = 7 * 24 * 3600  # in MongoDB
TOP_SAMPLE_MAX = 2_000  # requests that `memoryd top` looks at between two frames: a tenth of a second of its own
TOP_READ_MAX = 32  # requests of one of its reads: as many as a daemon takes at once
TOP_LISTED_MAX = 12  # verbs and agents of a frame: what a terminal shows beside the rest
TOP_DAEMON_SECONDS = 5.0  # since a daemon has asked for requests, which it does twice a second; then it is not counted
BIOGRAPHY_VERSIONS_MAX = 1_000  # of one memory: who changed it more often is told how it began
BIOGRAPHY_LETTERS_MAX = 1_000  # dead letters that are looked at for one memory, the newest
DOCTOR_CHECK_SECONDS = 10.0  # of one check; then it says that it could not look
DOCTOR_KEYS_MAX = 10_000  # keys that are looked at for one that never expires: a second of Redis's spare time
DOCTOR_SAMPLE = 50  # records of each kind, the newest, that are looked for in the archive
DOCTOR_CLOCK_SECONDS = 5.0  # that a clock may be off: more than any network takes, less than a lag that matters
METRICS_COUNT_SECONDS_MAX = 0.5  # of one count in Redis, which does nothing else meanwhile; what is not counted then is left out

# --- the journal and its followers ----------------------------------------------------------------------------------
JOURNAL_ENTRIES_MAX = (
    200_000  # a bucket's backlog while the archive is away (about 600 MB for all 16); then writers wait
)
TOMBSTONE_TTL_SECONDS = 30 * 24 * 3600  # longer than any follower may lag; the archive keeps its tombstone for ever
EMBED_BATCH_MAX = 64  # the model's throughput is flat from here on (FACTS: 647/s at 8, 671/s at 64)
EMBED_TRIES_MAX = 5  # then the entry goes to the dead-letter stream and stays visible in `stats`
EMBED_CACHE_TTL_SECONDS = 7 * 24 * 3600  # as long as a repeated sentence is likely
ARCHIVE_BATCH_MAX = 500  # entries of one bulk write: large enough for MongoDB's rate, small enough to redo
DEAD_LETTERS_MAX = (
    100_000  # per deployment; the oldest go first, the count of all is kept in the stream's entries-added
)
FOLLOW_CHANGES_MAX = 500  # that the follower takes from the stream at once: well within a lease, vectors included
FOLLOW_BATCH_MAX = 250  # documents that the follower applies together: about 1 MB with vectors
FOLLOW_STEP_MAX = 50  # of them in one round trip to Redis, some 20 ms of it: the next are made ready meanwhile
LEASE_SECONDS = 4.0  # a dead follower is replaced within 5 s

# --- what has been seen ---------------------------------------------------------------------------------------------
FILTER_CAPACITY = 100_000  # of one bucket's filter before it grows; each growth adds a layer twice as large
FILTER_ERROR_RATE = 0.001  # a false yes costs one look at the archive: one in a thousand is not felt
QUESTIONS_MAX = 40_000  # digests of one project's list: 10,000 questions, each for the four scopes that see it
QUESTIONS_TTL_SECONDS = 30 * 24 * 3600  # after the last question; the filter knows longer, but not when
SEEN_IDS_MAX = 10  # memories that one exact answer names: enough to look at one

# --- documents ------------------------------------------------------------------------------------------------------
DOCUMENT_BYTES_MAX = 256 * 1024  # a body as JSON: each change journals it whole; what grows has parts

# --- events ---------------------------------------------------------------------------------------------------------
EVENTS_KEPT_MAX = 10_000  # of one bucket of a project: minutes of a project that never pauses, in about 1 MB
PLACE_LIFE_SECONDS = 7 * 24 * 3600  # who was away for longer reads anew
EVENTS_TTL_SECONDS = PLACE_LIFE_SECONDS + 24 * 3600  # a day longer than any place is good for, whatever a clock does
EVENTS_PAGE_MAX = 1000  # events of one answer: about 250 KB
PLACE_BYTES_MAX = 16 * 1024  # 256 buckets, each with the longest id that a stream can have, are 10 KB

# --- sessions -------------------------------------------------------------------------------------------------------
SESSION_TTL_SECONDS = 3600  # after its last use; it comes back from the archive when it is used again
SESSION_TTL_SECONDS_MIN = 60  # shorter, and a slow model call would find its session gone from Redis
SESSION_TTL_SECONDS_MAX = 7 * 24 * 3600  # longer belongs into memories
SESSION_MESSAGES_MAX = 4_000  # beyond it the oldest become episodic memories; twice a long day's
SESSION_BYTES_MAX = 8 * 1024 * 1024  # of messages as JSON; the same
SESSION_OVERFLOW_MESSAGES = 64  # leave together: about 10 ms of one append in 64
OVERFLOWS_WAITING_MAX = 256  # blocks to compress: 16,000 messages; what finds no room is compressed at the session's end
SESSION_FULL_FACTOR = 1.25  # times these limits an append is refused: the overflow cannot keep up
MESSAGE_CONTENT_BYTES_MAX = CONTENT_BYTES_MAX - 1024  # so that it is a memory's content with who said it before it
MESSAGE_BYTES_MAX = 128 * 1024  # one message as JSON, its tool calls included
APPEND_MESSAGES_MAX = 128  # bounds the time of one atomic step
STATE_BYTES_MAX = 64 * 1024  # a session's variables as JSON, its tool state too: each change journals them
STATE_PATH_PARTS_MAX = 16  # as deep as metadata
SESSION_RECALLED_MAX = 256  # memories of which a session notes that it has recalled them, the newest
CHECKPOINTS_MAX = 32  # of one session; the oldest go first
WINDOW_TOKENS_MAX = 2_000_000  # the longest context windows there are
SESSIONS_LIST_MAX = 200  # sessions of one answer

# --- compression ----------------------------------------------------------------------------------------------------
SUMMARY_GROUP_MAX = 24  # memories behind one summary: about one conversation; well under REFERENCES_MAX
SUMMARY_GROUP_MIN = 2  # one memory alone is its own summary
SUMMARY_SHARE = 0.1  # of the characters of what it stands for: ten times fewer tokens
SUMMARY_CHARS_MIN = 160  # one sentence with some detail: a shorter summary could not name what it is about
SUMMARY_CHARS_MAX = 8_000  # a page; models read about as much
SUMMARY_WORDS_MAX = 1_000  # by which a summary is found besides its own: 24 turns of a talk have some 160
SUMMARY_WORDS_BYTES_MAX = 12 * 1024  # of them: the rest of METADATA_BYTES_MAX is for what else is said of a summary
DAY_CHARS_MAX = 2_000  # of a day's summary: a paragraph or two, what one reads of a day that is long over
DAY_SOURCES_MAX = REFERENCES_MAX  # memories and sessions' summaries that it is made of: it names each, so that a forget finds it
DAYS_BACK_MAX = 7  # a week of downtime is made up for; and a summariser is asked so often for a day that it refuses
DAYS_READ = 500  # notes of days that are looked at together: some 200 bytes each
SUMMARIZE_MEMORIES_MAX = 5_000  # of one `summarize`: the passages of a long book, about 1 s of choosing
SUMMARIZE_TRIES_MAX = 3  # calls to an endpoint that says 429, 5xx or nothing, within the time of one summary

COMPRESS_MEMORIES_MAX = 50_000  # of one compression: as of one forget
EXPAND_PAGE_MAX = 200  # memories of one answer

# --- duplicates -----------------------------------------------------------------------------------------------------
DUPLICATES_PAGE_MAX = 200  # memories that one request looks at: a second, and half a minute when all of them are merged
DUPLICATES_NEAREST = 16  # neighbours of each: more than that say nearly the same only where something loops
DUPLICATES_GROUP_MAX = 8  # memories that become one at a time: each is a version; the rest meet it the next time
DUPLICATE_OVERLAP_MIN = 0.5  # the lowest bound: texts with less in common are two texts about one thing
DUPLICATE_TEXT_CHARS = 200  # of a proposal's texts: enough to judge by
DUPLICATES_LOOKED_MAX = 1_000_000  # memories that one command looks at

# --- the tier archive -----------------------------------------------------------------------------------------------
DICTIONARY_BYTES = 16 * 1024  # of a zstd dictionary: what a few hundred short texts have in common
DICTIONARY_SAMPLES_MIN = 64  # fewer texts train none that is worth its bytes
DICTIONARY_SAMPLES_MAX = 500  # few enough that a forget seldom meets one, and then everything is packed anew
DICTIONARY_GROWTH = 4  # times as many archived memories as it was trained at: then a new one is trained
MOVE_WAIT_SECONDS = 5.0  # for the journal's followers to pass what was moved; later moves are ended by the sweep
MOVE_SWEEP_SECONDS = 20.0  # how often a daemon looks for moves that were not ended
PACK_BATCH_MAX = 250  # documents of one transaction: far below the 16 MB and 60 s that MongoDB allows

# --- tiers ----------------------------------------------------------------------------------------------------------
TIER_BATCH_MAX = 500  # keys of one step of a scan, uses of one count: a millisecond or two of Redis, between which it serves others
THREAD_TURN_SECONDS = 0.0001  # that a planning thread keeps the others waiting: an answer waits several times, 5 ms each by default
WORKING_REST_SECONDS = 60.0  # that a session over its agent's limit is left with: who is about to use it finds it yet
TIER_SAMPLE_MAX = 20  # records of a tier that tell how large one is; a job's report is no accounting
MOVE_BATCH_MAX = 20  # memories that a sweep moves together: so many are read, checked and written, and then others have their turn
SWEEP_REST_SECONDS_MAX = 0.5  # after a batch, half as long as it took, so that who asks meets fewer; no more where it waited
SURVEY_BATCH_MAX = 20  # records of one step of a look at all of them: half a millisecond of Redis, and as much of the daemon
TIERS_TOGETHER_MAX = 6  # batches on their way down at once where Redis is too full: the archive writes some, one is journaled
DEEP_BATCH_MAX = 2_000  # vectors of one look into the tier archive: about 1 MB
DEEP_SECONDS_MAX = 3.0  # of a scan, some 200,000 to 370,000 memories; well under what a client waits before it asks again (6 s)
SCANNED_MEMORIES_MAX = 100_000  # of one scope, looked at whole: 0.8 to 1.6 s of these; from there on an index is asked, if any
VECTOR_CANDIDATES_MAX = 10_000  # that `$vectorSearch` looks at: it takes no higher number
VECTOR_PROPOSED_MAX = 500  # that it gives: a twentieth, as MongoDB advises, and 100 more than are wanted, if some are gone by now
VECTOR_ANSWER_SECONDS = 1.0  # without one it is left alone for a while; who gave it less time was in a hurry
VECTOR_INDEX_SECONDS = 300.0  # that what is known of an index is believed: one that was made is used so much later
VECTOR_SERVER_SECONDS = 3600.0  # that a server is believed which says that it has no search: it gets it by an upgrade
TIER_LEASE_SECONDS = 30.0  # who moves memories for the fleet renews it with each batch; one that died is replaced after it
WORKING_OF_AGENT_MAX = 10_000  # the highest limit that can be configured: an agent of so many conversations at once
SHORT_MEMORIES_OF_PROJECT_MAX = 1_000_000  # the highest limit that can be configured: 5 GB of usual memories

# --- jobs -----------------------------------------------------------------------------------------------------------
JOB_LOOK_SECONDS = 2.0  # how soon a process notices that a job was paused, resumed or asked for
JOB_LEASE_SECONDS = 30.0  # who does a job renews it; one that died is replaced after it
JOB_RETRY_SECONDS = 60.0  # until a job that found a server away is done again
JOB_SPREAD_SECONDS_MAX = 60.0  # so much later than its time a job begins at most, so that many fleets do not begin at once
JOB_ASK_SECONDS = 10.0  # who asks for a run waits so long for a process to take it: some looks
JOB_RUNS_KEPT_SECONDS = 90 * 24 * 3600  # of a report in MongoDB
JOB_RUNS_PAGE_MAX = 200  # reports of one answer

# --- forgetting -----------------------------------------------------------------------------------------------------
FORGET_PLAN_MAX = 50_000  # memories of one forget: its receipt is one document of at most 7 MB, and MongoDB takes 16
RECEIPT_PAGE_MAX = 1_000  # memories that one answer lists of a plan or a receipt; about 130 KB
RECEIPTS_PAGE_MAX = 200  # receipts of one answer
FINDINGS_MAX = 1_000  # what one verification lists; more are counted
RECEIPTS_WAITING_MAX = 100_000  # receipts that MongoDB does not hold yet (about 100 MB); then a forget has to wait too
FORGET_TURN_SECONDS = 10.0  # a long forget whose daemon is silent for this long is gone on with by another one
RETENTION_KEEP_MAX = 1_000_000_000  # the largest budget that can be configured: what is kept is counted, not remembered
RETENTION_LOOK_MAX = 200  # memories of one look of retention: about 20 ms of the daemon, between which it serves others
RETENTION_BATCH_MAX = 500  # memories of one receipt of retention: some milliseconds of each store
RETENTION_PLAN_MAX = 50_000  # memories that are due at once, of all projects: about 20 MB; the rest is due when these are gone
AOF_REWRITE_SECONDS_MAX = 120.0  # 100 MB a second on a slow disk; longer is said, and the rewrite goes on

# --- embedding ------------------------------------------------------------------------------------------------------
EMBED_QUEUE_TEXTS_MAX = 4096  # texts that wait for a batch: half a minute of a laptop's model; then callers are refused
EMBED_RUN_TEXTS_MAX = (
    16  # texts of one run of a local model: the throughput of 64 (FACTS) with a quarter of the padding
)
EMBED_RUN_TOKENS_MAX = 4096  # padded tokens of one run: bounds a run's memory to about 200 MB whatever the texts are
EMBED_CALL_TOKENS_MAX = 32_000  # estimated tokens of one HTTP call: endpoints refuse calls from 100,000 on
EMBED_TEXT_TOKENS_MAX = 8_000  # tokens of one text, over HTTP estimated: the usual endpoint reads 8,191; words find the rest
EMBED_TURNS_AFTER_MAX = 2  # each is one more run of the model for every event; measured, the second says nothing more
EMBED_TEXT_TOKENS_MIN = 200  # a text this short is never too long for a model: it is not cut any further
EMBED_CALL_TRIES_MAX = 4  # calls to an endpoint that says 429 or 503; after that the journal's own retry takes over
EMBED_RETRY_AFTER_SECONDS_MAX = 20.0  # a longer Retry-After is handed to the caller instead of being slept through
EMBED_REPLY_BYTES_MAX = 32 * 1024 * 1024  # 64 vectors of 4,096 numbers with 20 digits are 5 MB
MODEL_WHEEL_BYTES_MAX = 400 * 1000 * 1000  # torch's CPU wheels are below 250 MB, its CUDA wheels above 500 MB
MODEL_INSTALL_SECONDS_MAX = 1800.0  # 300 MB over a slow line
MODEL_EXPORT_SECONDS_MAX = 600.0  # 15 s on two idle cores

# --- an agent's episodes --------------------------------------------------------------------------------------------
EPISODE_DATA_BYTES_MAX = 8 * 1024  # as JSON; what is larger goes to the archive by reference: Redis keeps what is searched
EPISODE_PAYLOAD_BYTES_MAX = 1024 * 1024  # a long page; it waits in the journal until the archive has it
EPISODE_DATA_DEPTH_MAX = 14  # two levels below metadata's 16, in which it lies
EPISODE_TEXT_BYTES_MAX = 4 * 1024  # what an event is found by; models read about as much
EPISODE_LOG_ENTRIES = 1_000  # of a log in Redis; older ones are read from the archive
EPISODE_LIMIT_MAX = 200  # episodes of one answer

# --- facts ----------------------------------------------------------------------------------------------------------
FACT_NAME_BYTES_MAX = 256  # a subject or a predicate: it is a name, and a word of an index
FACT_OBJECT_BYTES_MAX = 4 * 1024  # what is longer is a memory of its own, which a fact can name
FACTS_OF_KEY_MAX = 1_000  # facts of one subject and predicate that a change looks at: milliseconds
FACTS_LIMIT_MAX = 200  # facts of one answer
FACT_TURN_SECONDS = 600  # longer than any daemon may stand still between its look and its step

# --- an agent's state -----------------------------------------------------------------------------------------------
AGENT_TEXT_BYTES_MAX = 4 * 1024  # a task or an error in words
AGENT_TOOLS_MAX = 256  # more, and no model could choose among them
SELF_MODEL_BYTES_MAX = 64 * 1024  # as JSON: each change journals it, each snapshot keeps it
AGENTS_LIST_MAX = 200  # agents of one answer: about 1 MB of usual ones
HEARTBEAT_SECONDS = 60  # how long an agent may be silent, unless it says otherwise
HEARTBEAT_SECONDS_MIN = 1  # shorter than any network's hiccup would be a false alarm
HEARTBEAT_SECONDS_MAX = 24 * 3600  # who is silent for longer is not there
HEARTBEAT_KEPT_SECONDS = 7 * 24 * 3600  # so long it is known when it was last heard of
SNAPSHOTS_MAX = 10_000  # of one agent: one an hour for a year; a verification reads them all
SNAPSHOTS_PAGE_MAX = 100  # of one answer: at most 7 MB
SNAPSHOT_TTL_SECONDS = 7 * 24 * 3600  # in Redis; MongoDB keeps them
LABEL_BYTES_MAX = 1024  # a line for people

# --- introspection --------------------------------------------------------------------------------------------------
INTROSPECT_SAMPLE_MAX = 2_000  # memories in which words and names are counted: half a second of a core, measured
INTROSPECT_EVENTS_MAX = 50_000  # events of one report: 0.6 s of a core to count, measured
INTROSPECT_DAYS_MAX = 3_650  # ten years
INTROSPECT_LIST_MAX = 50  # of each list of a report
KNOWLEDGE_FACTS_MAX = 50  # facts with something as their subject, as many with it as their object
CAUGHT_UP_SECONDS = 2.0  # the archiver is milliseconds behind; a report that has waited so long counts in Redis
GAPS_MAX = 200  # of one agent: a page to read
GAPS_TTL_SECONDS = 30 * 24 * 3600  # a question that nobody has asked for a month is no gap any more

# --- an agent's tools -----------------------------------------------------------------------------------------------
TOOL_INPUT_BYTES_MAX = 64 * 1024  # as JSON; only its digest is kept
TOOL_DISTANCE_MAX = 0.5  # of two questions with one answer; what is farther away is about something else
TOOL_RESULT_BYTES_MAX = 256 * 1024  # a long page; what is larger is not kept, and its callers are told to compute
TOOL_CACHE_BYTES_MAX = 16 * 1024 * 1024  # an agent's results together; what is due next goes first
TOOL_CACHE_ENTRIES_MAX = 1_000  # an invalidation looks at each: milliseconds of Redis's time
TOOL_TTL_SECONDS_MAX = 7 * 24 * 3600  # what is true for longer is a memory
TOOL_FAILURE_TTL_SECONDS_MAX = 3600  # a failure that lasts longer deserves to be looked at
TOOL_FAILURE_BYTES_MAX = 2 * 1024  # what a model reads of a failure
TOOL_LEASE_SECONDS_MAX = 900.0  # a computation that takes longer is a task: see the leases of tasks
TOOL_BYPASS_SECONDS = 60.0  # how long a result that is too large is remembered as such
TOOL_POLL_SECONDS_MIN = 0.02  # a waiter asks again after a quarter of the time that it is computed already,
TOOL_POLL_SECONDS_MAX = 1.0  # within these: a hundred waiters of a slow tool are a hundred requests a second

# --- agents that work together --------------------------------------------------------------------------------------
LEASE_TTL_SECONDS_MIN = 1.0  # shorter, and a busy machine loses it between two renewals
LEASE_TTL_SECONDS_MAX = 3600.0  # how long a task stands still at most when its holder dies
CHANNEL_DATA_BYTES_MAX = 16 * 1024  # a message as JSON; what is larger is a memory: say its id
CHANNEL_MESSAGES_MAX = 1_000  # of one channel, the newest: at most 16 MB
CHANNEL_TTL_SECONDS = 7 * 24 * 3600  # of a channel after its last message; what matters for longer is a memory
CHANNEL_PAGE_MAX = 200  # messages of one answer: at most 3 MB

# --- an agent's scratchpad ------------------------------------------------------------------------------------------
SCRATCH_BYTES_MAX = 256 * 1024  # of one pad as JSON; each write measures the pad
SCRATCH_NAMES_MAX = 1_000  # a computation's variables; what is larger is a list or a memory
SCRATCH_TTL_SECONDS_MIN = 5 * 60  # shorter than one slow tool would lose what was computed before it
SCRATCH_TTL_SECONDS_MAX = 30 * 60  # what is needed for longer is working memory
SCRATCH_POP_MAX = 100  # values taken at once
ANSWERS_TTL_SECONDS = 30 * 60  # a write's answer is known as long as the longest-lived pad that it changed
