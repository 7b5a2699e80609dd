/**
 * Remembers what was made of objects that are frozen: who freezes a message says that nothing in it will change, however
 * deep, so that what is sent to many is encoded once. Of any other object it is made anew each time. Nothing is held
 * longer than the object itself.
 */
export class FrozenCache<T> {
  readonly #made = new WeakMap<object, T>();

  get<O extends object>(from: O, make: (from: O) => T): T {
    if (!Object.isFrozen(from)) return make(from);
    const known = this.#made.get(from);
    if (known !== undefined) return known;
    const made = make(from);
    this.#made.set(from, made);
    return made;
  }
}
