// placeholder
export function acceptImages() {}
