// Keys of the keyboard.

/** Whether a key is pressed together with another that makes it the browser's, such as Alt and an arrow. */
export const hasModifier = (key) => key.altKey || key.ctrlKey || key.metaKey || key.shiftKey;
