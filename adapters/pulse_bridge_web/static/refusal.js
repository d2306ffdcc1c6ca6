/** What a server's refusal means, in words, and whether to ask again; pure. */

/** @type {Record<number, string>} */
const WORDS = {
  401: "the server wants its token again: reload the page and enter it",
  403: "the server, or a proxy before it, forbids it",
  404: "the server has nothing at this address",
  421: "the server is not to be asked for under this name: its option hosts= lists the names",
  429: "the server is asked too often",
  502: "the proxy cannot reach the server",
  503: "the server is busy",
  504: "the server does not answer its proxy in time",
};

/** @param {number} status  Of HTTP. */
export const refusalText = (status) => WORDS[status] ?? `the server answers with the error ${status}`;

/**
 * Whether the same question may have an answer later. One that is wrong stays wrong.
 *
 * Source: RFC 9110 §15.5.9 (408), RFC 6585 §4 (429).
 *
 * @param {number} status
 */
export const mayHeal = (status) => status >= 500 || status === 408 || status === 429;
