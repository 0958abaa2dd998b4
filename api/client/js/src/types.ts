/** The JSON that an operation takes. */
export type JSONOf<O> = O extends {requestBody?: {content: {'application/json': infer B}}} ? B : never;

/** The query parameters of an operation. */
export type QueryOf<O> = O extends {parameters: {query?: infer Q}} ? NonNullable<Q> : never;

/** The JSON that an operation answers with. */
export type AnswerOf<O> = O extends {responses: {200: {content: {'application/json': infer B}}}} ? B : never;

/** What stands in the last line of an answer that comes while something long goes on. */
export type ReportOf<O> = O extends {responses: {200: {content: {'application/x-ndjson': infer L}}}} ? (L extends {report?: infer R} ? NonNullable<R> : never) : never;
