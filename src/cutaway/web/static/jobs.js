// placeholder
export function watchJobs() {}
