// Generated from the comments of the protobuf files. Do not edit.
/** Comments by the full names of what they stand above. */
export declare const comments: Readonly<Record<string, string>>;
