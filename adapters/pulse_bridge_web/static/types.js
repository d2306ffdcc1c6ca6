/**
 * What the server sends; only types, for the reader and for a type checker.
 *
 * @typedef {"idle"|"running"|"stale"|"done"|"error"|"gone"} State
 * @typedef {"heard"|"unheard"|"silent"|"stopped"} Hearing
 * @typedef {[number, number]} Point  Epoch and loss.
 *
 * @typedef {object} JobEvent  An event; an absent number is absent. Labels stand in it as `label_<name>`.
 * @property {string} id
 * @property {"change"|"heartbeat"|"stale"|"recovered"|"gone"} kind
 * @property {string} host
 * @property {string} job
 * @property {number} run  Unix seconds that name the run.
 * @property {State} state
 * @property {string} status
 * @property {number} epoch
 * @property {number} total_epochs
 * @property {number} [loss]
 * @property {string} message
 * @property {number} timestamp  Unix seconds at which the training wrote.
 * @property {number} progress  Percent.
 * @property {number} [eta_s]  Seconds, from `observed_at` on.
 * @property {boolean} diverged
 * @property {number} [step]
 * @property {number} [total_steps]
 * @property {number} [learning_rate]
 * @property {string} observed_at  RFC 3339.
 *
 * @typedef {JobEvent & {hearing?: Hearing, spark?: Point[]}} JobView
 *
 * @typedef {object} HostView
 * @property {string} host
 * @property {Hearing} hearing
 * @property {string} last_seen  RFC 3339.
 * @property {string} [version]
 * @property {boolean} [stopping]
 * @property {number} [malformed]
 * @property {number} [dropped]
 * @property {Object<string, number>} [lag]  Destination to events that it does not have yet.
 *
 * @typedef {object} Snapshot
 * @property {boolean} connected  Whether the server hears its bus.
 * @property {string|null} reason
 * @property {string} now  RFC 3339.
 * @property {string} source  The bus, without a secret.
 * @property {string} version
 * @property {HostView[]} hosts
 * @property {JobView[]} jobs
 * @property {boolean} [gap]  The server does not know how far this viewer was: what happened meanwhile is asked for, as after every snapshot.
 *
 * @typedef {object} Update
 * @property {string} now
 * @property {JobView[]} jobs
 * @property {HostView[]} hosts
 * @property {[string, string][]} removed
 * @property {string[]} [hosts_removed]
 */

export {};
