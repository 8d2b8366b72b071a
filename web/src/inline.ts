/** The engine without a worker: imported only when it is asked for. */
export { Service } from './service.js';
